"""The network, its weight files and the engines that run it."""
