"""Workloads that measure this project against the original, on this machine."""
