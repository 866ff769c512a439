"""Scaling, measured."""
