"""Held-out likelihoods of the zoo on sets of binary data, beside published ones.

    python -m mixtures.learn.benchmark nltcs plants --data FOLDER

learns a TMM, an HMM, an LTM and an SPN on each set, then mixtures of LTMs, of which the best by
validation stands for the zoo. Every line of the results carries the commit, the parameters chosen,
minutes and seed; lines that are there are not run again.

    python -m mixtures.learn.benchmark depth nltcs plants --data FOLDER

compares structures of growing depth at matched numbers of parameters.

    python -m mixtures.learn.benchmark chorales --data FOLDER

learns hidden Markov models of four-part chorales, up to 128 states. Nothing of the library imports
this package.
"""
