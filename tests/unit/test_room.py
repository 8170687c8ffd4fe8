"""ltx2.room: what is free on the host, of the machine or of its container."""

import torch

from ltx2.room import GIB, Room, free_host_memory, room_on


def meminfo(folder, kilobytes):
    path = folder / "meminfo"
    path.write_text(f"MemTotal:       99 kB\nMemAvailable:   {kilobytes} kB\nBuffers: 1 kB\n")
    return path


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_the_machines_available_memory_counts(tmp_path):
    assert free_host_memory(meminfo(tmp_path, 1000), tmp_path / "none") == 1000 * 1024


def test_a_containers_limit_counts_where_it_is_smaller(tmp_path):
    table = meminfo(tmp_path, 10_000)
    group = tmp_path / "group"
    stat = "anon 5\ninactive_file 300\nactive_file 7"
    write(group, memory__max="4000", memory__current="1000", memory__stat=stat)
    assert free_host_memory(table, group) == 4000 - 1000 + 300
    write(group, memory__max="max")
    assert free_host_memory(table, group) == 10_000 * 1024


def test_the_older_layout_of_containers_is_read_too(tmp_path):
    group = tmp_path / "group" / "memory"
    write(
        group,
        memory__limit_in_bytes="5000",
        memory__usage_in_bytes="2000",
        memory__stat="total_inactive_file 100",
    )
    table = meminfo(tmp_path, 10_000)
    assert free_host_memory(table, tmp_path / "group") == 3100
    write(group, memory__limit_in_bytes=str(2**63 - 4096))
    assert free_host_memory(table, tmp_path / "group") == 10_000 * 1024


def test_a_system_without_such_tables_tells_all_of_its_memory(tmp_path):
    assert free_host_memory(tmp_path / "none", tmp_path / "none") > GIB // 4


def test_a_limit_stands_for_a_devices_memory_on_a_cpu():
    assert room_on(torch.device("cpu")).device is None
    room = room_on(torch.device("cpu"), limit=1.5, held_host=GIB)
    assert room.device == 1.5 * GIB
    assert room.host > GIB
    assert Room(device=3 * GIB, host=2 * GIB).described() == (
        "3.0 GiB of GPU memory, 2.0 GiB of host memory"
    )
