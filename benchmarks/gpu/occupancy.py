"""How many warps of a kernel fit a multiprocessor at once, from what the compiled kernel takes of it."""

from typing import Any, NamedTuple


class Multiprocessor(NamedTuple):
    """What blocks share; the defaults are Hopper's."""

    registers: int = 65_536
    shared_bytes: int = 233_472
    warps: int = 64
    blocks: int = 32


REGISTERS_AT_ONCE = 256
"""Registers are given to a warp in portions of so many."""
SHARED_AT_ONCE = 128
"""Shared memory is given to a block in portions of so many bytes."""
SHARED_OF_SYSTEM = 1024
"""Bytes of shared memory that CUDA takes in each block."""


HOPPER = Multiprocessor()


def resident_warps(num_warps: int, registers: int, shared_bytes: int, chip: Multiprocessor = HOPPER) -> int:
    """Warps on one multiprocessor at once.

    Args:
        num_warps: of a block.
        registers: of a thread.
        shared_bytes: of a block.
        chip: what there is.
    """
    of_warp = _portions(32 * max(1, registers), REGISTERS_AT_ONCE)
    by_registers = chip.registers // of_warp // num_warps
    by_shared = chip.shared_bytes // _portions(shared_bytes + SHARED_OF_SYSTEM, SHARED_AT_ONCE)
    return num_warps * min(by_registers, by_shared, chip.warps // num_warps, chip.blocks)


def _portions(amount: int, portion: int) -> int:
    return -(-amount // portion) * portion


def this_chip() -> Multiprocessor:
    """The current card's."""
    import torch

    facts, usual = torch.cuda.get_device_properties(), HOPPER
    return Multiprocessor(
        getattr(facts, "regs_per_multiprocessor", usual.registers),
        getattr(facts, "shared_memory_per_multiprocessor", usual.shared_bytes),
        getattr(facts, "max_threads_per_multi_processor", 32 * usual.warps) // 32,
        usual.blocks,
    )


def made_kernels(kernel: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - Triton is untyped
    """What each form of a Triton kernel takes that was launched in this process; nothing where unknown."""
    chip, found = this_chip(), []
    for caches in getattr(kernel, "device_caches", {}).values():
        for made in caches[0].values():
            registers, warps = getattr(made, "n_regs", None), made.metadata.num_warps
            if registers is None:
                continue
            resident = resident_warps(warps, registers, made.metadata.shared, chip)
            found.append(
                {
                    "registers": registers,
                    "spilled": getattr(made, "n_spills", None),
                    "shared_bytes": made.metadata.shared,
                    "warps": warps,
                    "occupancy": round(resident / chip.warps, 3),
                }
            )
    return found
