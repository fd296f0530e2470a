"""Engines that run the network."""
