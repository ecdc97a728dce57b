"""Classifying images of which pixels are missing: tensorial mixtures beside classical methods.

The protocol of Sharir, Tamari, Cohen and Shashua (Tensorial mixture models, 2016): classifiers
learn from whole images and meet images of which pixels are missing, at random or in rectangles.
`python -m mixtures.learn.missing_pixels --data mnist10k.npz` writes a table and a picture.
"""
