"""What check says of the .socket units in Debian's packages: ``make test-packages``.

The units are taken from the packages when the test runs.
"""
