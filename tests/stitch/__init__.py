"""Tests of latticework.stitch."""
