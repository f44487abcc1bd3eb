"""Colours of the usual stains, for every room that unmixes or varies them."""

from __future__ import annotations

RUIFROK = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical densities of red, green and blue per unit of haematoxylin, eosin and diaminobenzidine, not of length 1
(Ruifrok & Johnston 2001, Anal Quant Cytol Histol 23:291)."""
