"""Tests of `tasks/core/variants`."""
