"""Triton twins of plain PyTorch for NVIDIA GPUs: optional, chosen by device, tested equal to what they do.

Triton comes with CUDA builds of torch; nothing that must work without it imports these modules.
"""
