"""Archives (U8): what they may hold, and how much."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from caterva2.errors import TooLarge, UnsafeContent
from caterva2_formats.archives import ArchiveLimits, archive_stem, is_archive, read_archive

Add = Callable[[str, bytes], None]


def zipped(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(path: Path, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    return {name: stream.read() for name, stream in read_archive(path, limits)}


GOOD = {"a.txt": b"text", "dir/b.b2nd": bytes(range(256)) * 10, "dir/sub/ünï.txt": b""}


@pytest.mark.parametrize("make", [zipped, tarred, lambda path, files: tarred(path, files, "w")])
def test_files_come_out_as_they_went_in(tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]) -> None:
    hidden = {".hidden": b"x", "dir/.DS_Store": b"x", "__MACOSX/a.txt": b"x", "__MACOSX/._a": b"x"}
    assert contents(make(tmp_path / "x", GOOD | hidden)) == GOOD


def test_directories_are_implied(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.mkdir("dir")
        archive.writestr("dir/a", b"1")
    assert contents(tmp_path / "x.zip") == {"dir/a": b"1"}
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("dir")
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    assert contents(tmp_path / "x.tar") == {}


@pytest.mark.parametrize(
    "name", ["../up", "/etc/passwd", "a/../../b", "a\\b", "a\tb", "c\u202ed", "x/" * 40 + "y", "nul"]
)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_u8_names_that_lead_elsewhere_are_refused(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path], name: str
) -> None:
    with pytest.raises(UnsafeContent, match="name"):
        contents(make(tmp_path / "x", {"good": b"1", name: b"2"}))


@pytest.mark.parametrize("make", [zipped, tarred])
def test_u8_names_that_differ_by_case_alone_are_refused(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    with pytest.raises(UnsafeContent, match="more than once"):
        contents(make(tmp_path / "x", {"a/README": b"1", "a/readme": b"2"}))


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE]


@pytest.mark.parametrize("kind", KINDS)
def test_u8_what_is_no_regular_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type = kind
        member.linkname = "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(UnsafeContent):
        contents(tmp_path / "x.tar")


def test_u8_links_in_zips_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeContent, match="no regular file"):
        contents(tmp_path / "x.zip")


@pytest.mark.parametrize("make", [zipped, tarred])
def test_u8_bombs_are_refused_before_they_unfold(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    bomb = make(tmp_path / "x", {"zeros": bytes(64 * 2**20)})
    assert bomb.stat().st_size < 2**17
    pieces: list[int] = []
    with pytest.raises(TooLarge, match="archive holds"):
        read_all(bomb, pieces)
    assert sum(pieces) <= 3 * 2**20


def read_all(path: Path, pieces: list[int]) -> None:
    for _, stream in read_archive(path):
        while piece := stream.read(2**16):
            pieces.append(len(piece))


def test_u8_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    good = zipped(tmp_path / "good.zip", {f"{i:03}": content for i in range(60)}, zipfile.ZIP_STORED)
    data = good.read_bytes()
    start = data.index(b"PK\x01\x02")
    central = bytearray(data[start:])
    position = 0
    for _ in range(60):
        struct.pack_into("<I", central, position + 42, 0)
        struct.pack_into("<I", central, len(central) - 6, start)
        position += 46 + 3
    first = data[: data.index(b"PK\x03\x04", 4)]
    struct.pack_into("<I", central, len(central) - 6, len(first))
    overlapping = tmp_path / "overlapping.zip"
    overlapping.write_bytes(first + central)
    with pytest.raises((UnsafeContent, TooLarge)):
        contents(overlapping)


def test_u8_the_room_that_is_left_is_respected(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {str(i): bytes(1000) for i in range(5)})
    assert len(contents(path, ArchiveLimits(nbytes=5000))) == 5
    with pytest.raises(TooLarge, match="room"):
        contents(path, ArchiveLimits(nbytes=4999))


@pytest.mark.parametrize("make", [zipped, tarred])
def test_u8_too_many_members_are_refused(tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]) -> None:
    path = make(tmp_path / "x", {str(i): b"" for i in range(11)})
    with pytest.raises(TooLarge, match="10 files"):
        contents(path, ArchiveLimits(members=10))


def test_u8_headers_of_tars_do_not_fill_the_memory(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        with tarfile.open(tmp_path / "x.tgz", "w:gz", format=tarfile.GNU_FORMAT) as archive:
            member = tarfile.TarInfo("long")
            member.type = kind
            member.size = 50 * 2**20
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        with pytest.raises(UnsafeContent, match="impossible size"):
            contents(tmp_path / "x.tgz")


def test_u8_encrypted_and_exotic_zips_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a": b"abc"}, zipfile.ZIP_LZMA)
    with pytest.raises(UnsafeContent, match="deflate"):
        contents(path)
    data = bytearray(zipped(tmp_path / "y.zip", {"a": b"abc"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "y.zip").write_bytes(data)
    with pytest.raises(UnsafeContent, match="encrypted"):
        contents(tmp_path / "y.zip")


def test_f20_damaged_archives_are_errors_and_no_crashes(tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    outcomes = set()
    for make in (zipped, tarred):
        data = make(tmp_path / "good", GOOD).read_bytes()
        for position in range(0, len(data), 5):
            path.write_bytes(data[:position] + bytes([data[position] ^ 0x5A]) + data[position + 1 :])
            try:
                contents(path)
                outcomes.add("read")
            except (UnsafeContent, TooLarge):
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04", b"junk" * 1000, b"\x1f\x8b" + bytes(50)])
def test_f20_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UnsafeContent):
        contents(tmp_path / "x")


def test_archives_are_known_by_their_names() -> None:
    assert is_archive("dir/Data.TAR.GZ")
    assert not is_archive("data.gz")
    assert archive_stem("dir/Data.TAR.GZ") == "Data"
    assert archive_stem("x.tgz") == "x"
