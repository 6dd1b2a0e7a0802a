"""What devices can do at most: the denominator of MFU (model FLOPs utilization; PaLM, 2022, appendix B)."""

DENSE_BF16_FLOPS = {
    "B200": 2250e12,  # HGX B200, half of the figure with sparsity
    "GH200": 989.4e12,
    "H200": 989.4e12,  # SXM
    "H100 NVL": 835.5e12,
    "H100 PCIe": 756.5e12,
    "H100": 989.4e12,  # SXM
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "RTX 4090": 165.2e12,  # sums in fp32
    "RTX 3090": 71.2e12,
}
"""A part of the device's name → bf16 matrix products with sums in fp32, without sparsity, in FLOP/s, from
NVIDIA's data sheets and architecture papers (which tell most of them with sparsity: twice as much). Names
that hold others stand first."""


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 FLOP/s of a device, or None if it is not known here.

    `device_name` is what torch.cuda.get_device_name tells, such as `NVIDIA H100 80GB HBM3`.
    """
    words = f" {device_name.replace('-', ' ')} "
    for name, flops in DENSE_BF16_FLOPS.items():
        if f" {name} " in words:
            return flops
    return None


def mfu(tokens_per_second: float, flops_per_token: float, peak: float) -> float:
    """The share of `peak` FLOP/s that the model's own arithmetic takes; what is computed twice (activation
    checkpointing) or for nothing (padding) does not count."""
    return tokens_per_second * flops_per_token / peak
