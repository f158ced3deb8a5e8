"""Web: the surfaces above all slices: portals and interfaces beside one another, over one kit.

mount.py (puts everything into the app) · kit/ (what every page stands on) · platform/ (平台: the house itself) ·
api/ (for machines). A page loads, allows, does, answers, in that order. Imports nothing here.
"""
