"""Tests of projects; a package, so that worker processes import test stages by the same names."""
