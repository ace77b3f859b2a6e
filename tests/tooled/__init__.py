"""A Django app as an operator may have one: nothing but a `tools.py`."""
