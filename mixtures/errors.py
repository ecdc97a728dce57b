"""The errors of the library; each is a ValueError, so one `except ValueError` catches them all."""


class StructureError(ValueError):
    """A tree or a network that defines no mixture; the message names the offending node."""


class ConversionError(ValueError):
    """No converter applies; the message names the property that failed and what to call instead."""


class SizeError(ValueError):
    """Something larger than a stated budget was about to be built; the message says how large."""
