#!/usr/bin/env python3
"""check_loops.py OBJDUMP OBJECT...: the inner loops of products keep everything in vector registers and tiles. Objects that
are no kernel of a product are passed over.

A sum that is spilled to the stack halves a kernel's speed and changes no result, so no other test sees it. Controls that are
expanded on the fly may be spilled: that form runs where memory is the limit.
"""

import pathlib
import re
import subprocess
import sys

KERNEL = re.compile(r"(matmul|spmm24)_\w+_(avx|amx)")
PRODUCT = re.compile(r"\b(vpdpbusd|vpmaddubsw|vpmaddwd|vdpbf16ps|vfmadd\w+|tdpbssd|tdpbf16ps)\b")
EPILOGUE = re.compile(r"\b(activate|finish_tile|select_finish)|13select_finish")
ON_THE_FLY = "Compact<"
VECTOR = re.compile(r"%[xyz]mm\d")


def functions(listing):
    """Name and [(address, instruction)] of each function of a disassembly."""
    found = []
    for line in listing.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            found.append((head[1], []))
        elif (row := re.match(r"\s*([0-9a-f]+):\t(.*)$", line)) and found:
            found[-1][1].append((int(row[1], 16), row[2]))
    return found


def inner_loops(body):
    """What lies between a jump back and its target, with no other such pair inside."""
    places = {address: i for i, (address, _) in enumerate(body)}
    loops = []
    for end, (address, text) in enumerate(body):
        jump = re.match(r"j\w+\s+([0-9a-f]+)\b", text)
        if jump and int(jump[1], 16) <= address and int(jump[1], 16) in places:
            loops.append((places[int(jump[1], 16)], end))
    for start, end in loops:
        if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in loops):
            yield [text for _, text in body[start:end + 1]]


def check(objdump, path):
    """The number of product loops in an object, and what is wrong with them."""
    command = [objdump, "-d", "-C", "--no-show-raw-insn", path]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    count, wrong = 0, []
    for name, body in functions(listing):
        if EPILOGUE.search(name):
            continue
        framed = any(re.match(r"mov\s+%rsp,%rbp$", text) for _, text in body)
        stack = re.compile(r"\(%rsp|\(%rbp" if framed else r"\(%rsp")
        for loop in inner_loops(body):
            if not any(PRODUCT.search(text) for text in loop):
                continue
            count += 1
            spills = [text for text in loop if VECTOR.search(text) and stack.search(text)]
            if spills and ON_THE_FLY not in name:
                wrong.append(f"{path}: {name}: {len(spills)} of {len(loop)} instructions use the stack: {spills[0]}")
    return count, wrong


def main():
    kernels = [path for path in sys.argv[2:] if KERNEL.match(pathlib.Path(path).name)]
    failed = [] if kernels else ["no object of a kernel was given"]
    for path in kernels:
        count, wrong = check(sys.argv[1], path)
        failed += wrong if count else [f"{path}: no loop with a product was found"]
    print("\n".join(failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
