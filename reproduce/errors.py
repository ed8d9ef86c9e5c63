"""What can be wrong with a reproduction that a person asked for."""


class ReproduceError(ValueError):
    """A table, a run or a record that cannot be used; the message says which, why and what to do."""
