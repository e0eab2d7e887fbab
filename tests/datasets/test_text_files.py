"""Folders of .txt and .md files as docs."""

import pytest

from evalkit.datasets.text_files import read_text_files
from evalkit.errors import DataError


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, content in files.items():
            path = tmp_path / "docs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "docs"

    return lambda files: write(**files)


def test_texts_are_found_at_every_depth_and_the_rest_is_counted(folder):
    found = read_text_files(
        folder(
            {
                "b.txt": "Plain text.",
                "a/deep er/注意.MD": "# 缓存\n\n缓存失效时重算。",
                ".hidden/x.txt": "no",
                "a/.x.md": "no",
                "empty.md": " \n",
                "scan.pdf": b"%PDF",
                "Makefile": "x",
            }
        )
    )
    assert [tuple(doc) for doc in found.docs] == [
        ("a/deep_er/注意.MD", "缓存", "缓存失效时重算。"),
        ("b.txt", "b", "Plain text."),
    ]
    assert (found.empty, found.others) == (1, {".pdf": 1, "no suffix": 1})


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("## A title ##\r\n\r\nText.", "A title", "Text."),
        ("Intro.\n\n# Later\n\nMore.", "Later", "Intro.\n\n# Later\n\nMore."),
        ("```sh\n# a comment\n```\n# Real\nText", "Real", "```sh\n# a comment\n```\n# Real\nText"),
        ("---\ntitle: x\n---\n# Real\nText", "Real", "Text"),
        ("no heading #1", "page", "no heading #1"),
        ("# Only a heading", "Only a heading", "# Only a heading"),
        ("\ufeff# Mark\nText", "Mark", "Text"),
    ],
)
def test_the_title_is_the_first_heading_or_the_file_s_name(folder, content, title, text):
    (doc,) = read_text_files(folder({"page.md": content})).docs
    assert (doc.title, doc.text) == (title, text)


def test_a_heading_in_plain_text_is_text(folder):
    (doc,) = read_text_files(folder({"page.txt": "# no heading"})).docs
    assert (doc.title, doc.text) == ("page", "# no heading")


def test_what_cannot_be_read_is_named_with_its_line(folder):
    docs = folder({"ok.txt": "ok", "gb.txt": "first\n" + "", "x.md": "x"})
    (docs / "gb.txt").write_bytes("第一行\n".encode() + "缓存".encode("gb18030"))
    with pytest.raises(DataError, match=r"gb\.txt, line 2: not UTF-8 .*iconv -f GB18030"):
        read_text_files(docs)


def test_two_files_of_one_id_and_no_text_at_all_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match=r"would both have the id 'a_b\.txt'; rename one"):
        read_text_files(folder({"a b.txt": "x", "a_b.txt": "y"}))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.docx").write_bytes(b"x")
    (tmp_path / "none" / "b.md").write_bytes(b"")
    with pytest.raises(DataError, match=r"no text in any .*1 empty file, 1 × \.docx.*pandoc"):
        read_text_files(tmp_path / "none")
