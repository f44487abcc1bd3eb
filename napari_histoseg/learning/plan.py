"""What a retrain does: one frozen table that feeds the form, the command-line flags and the revision's card."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FineTunePlan(BaseModel):
    """Settings of one fine-tuning on edits; the defaults are what the button does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(
        300,
        ge=1,
        le=20_000,
        title="Steps",
        description="Number of small training steps; more take longer.",
    )
    minutes: float = Field(
        3.0, gt=0, le=1440, title="Time limit (min)", description="Training ends at this time even if steps are left."
    )
    learning_rate: float = Field(
        3e-4, gt=0, le=0.1, title="Learning rate", description="Size of a step; it falls to zero along a cosine."
    )
    batch_size: int = Field(4, ge=1, le=64, title="Tiles per step", description="Tiles looked at in one step.")
    tile_px: int = Field(
        128,
        ge=32,
        le=1024,
        multiple_of=32,
        title="Tile side (px)",
        description="Side of a tile, at model resolution.",
    )
    edited_weight: float = Field(
        2.0, gt=0, le=100, title="Weight of edits", description="How much painted pixels count against verified ones."
    )
    replay_share: float = Field(
        0.5,
        ge=0,
        le=0.9,
        title="Replay share",
        description="Share of tiles taken from what earlier rounds have learned already, so that it is not forgotten.",
    )
    distill_weight: float = Field(
        10.0,
        ge=0,
        le=100,
        title="Keep the old answer elsewhere",
        description="Pull towards the parent's own answer where nobody has corrected it.",
    )
    anchor: float = Field(
        0.01,
        ge=0,
        le=100,
        title="Pull to the parent's weights",
        description="Strength of the spring that ties each weight to the parent's.",
    )
    blend: float = Field(
        0.7,
        gt=0,
        le=1,
        title="Way from the parent",
        description="1 takes the trained weights as they are, less mixes in the parent's, which keeps more old skill.",
    )
    stain_jitter: float = Field(
        0.1, ge=0, le=1, title="Stain jitter", description="Random change of the stain's strength in each tile."
    )
    held_out_share: float = Field(
        0.2,
        ge=0,
        le=0.5,
        title="Held-out share",
        description="Share of corrected regions never learned from; they judge the result, in later rounds too.",
    )
    tolerance: float = Field(
        0.02,
        ge=0,
        le=1,
        title="Tolerance",
        description="A candidate whose Dice on held-out corrections or verified fields falls by more is not activated.",
    )
    max_change: float = Field(
        0.3,
        ge=0,
        le=1,
        title="Largest change elsewhere",
        description="A candidate that changes more than this share of uncorrected pixels is not activated.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="The same seed repeats the run.")
