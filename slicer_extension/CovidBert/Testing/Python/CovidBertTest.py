"""The self test for ctest: ``ctest -R py_CovidBertTest`` in the build folder of the extension."""

import unittest

from CovidBertLib.self_test import run


class CovidBertTest(unittest.TestCase):
    """The whole path, from the server to the report."""

    def test_whole_path(self):
        """Connect, classify, look, correct, submit, report."""
        run(self)
