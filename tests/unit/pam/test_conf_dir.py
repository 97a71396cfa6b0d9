"""Services in a folder of their own include each other."""

from __future__ import annotations

from pathlib import Path

from pam_iampass.pam import conf_dir


def test_what_the_folder_has_is_included_from_there(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("auth required pam_permit.so\n")
    (tmp_path / "a").write_text(
        "@include b\n-auth\tsubstack  b \nauth include missing\naccount include /etc/b\n# @include b\n"
    )
    conf_dir.resolve_includes(tmp_path)
    assert (tmp_path / "a").read_text() == (
        f"@include {tmp_path}/b\n-auth\tsubstack  {tmp_path}/b \nauth include missing\naccount include /etc/b\n"
        "# @include b\n"
    )
    assert (tmp_path / "b").read_text() == "auth required pam_permit.so\n"


def test_bytes_that_are_no_text_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"# \xff\xfe\n@include a\n")
    conf_dir.resolve_includes(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"# \xff\xfe\n@include " + str(tmp_path).encode() + b"/a\n"
