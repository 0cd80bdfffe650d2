"""Peak throughput and memory of GPUs, from their data sheets."""

from __future__ import annotations

PEAK_TFLOPS = {
    "B200": 2250.0,
    "GB200": 2500.0,
    "H200 NVL": 835.0,
    "H200": 989.4,
    "GH200": 989.4,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.4,
    "H20": 148.0,
    "A100": 312.0,
    "A800": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "A40": 149.7,
    "A30": 165.0,
    "A10": 125.0,
    "L4": 121.0,
    "MI300X": 1307.4,
}
"""Dense bf16 TFLOP/s without sparsity, by a part of the device's name; longer parts come first."""

MEMORY_GB = {
    "B200": 180,
    "GB200": 186,
    "H200 NVL": 141,
    "H200": 141,
    "GH200": 96,
    "H100 PCIe": 80,
    "H100 NVL": 94,
    "H100": 80,
    "H20": 96,
    "A100": 80,
    "A800": 80,
    "L40S": 48,
    "L40": 48,
    "A40": 48,
    "A30": 24,
    "A10": 24,
    "L4": 24,
    "MI300X": 192,
}
"""Decimal gigabytes, by the same names; the larger value for a device with several sizes."""


def peak_tflops(device: str) -> float | None:
    """Peak of a device by torch's name for it, in dense bf16 TFLOP/s; None if unknown."""
    words = device.replace("-", " ").replace("NVIDIA", " ").split()
    text = f" {' '.join(words)} "
    for part in sorted(PEAK_TFLOPS, key=len, reverse=True):
        if f" {part} " in text:
            return PEAK_TFLOPS[part]
    return None
