"""Docs as the one string that every stage sees."""

from evalkit.types import Doc


def test_a_title_that_holds_a_placeholder_stays_as_it_is():
    assert Doc("1", "How {text} works", "BODY").render() == "How {text} works BODY"
    assert Doc("1", "T", "a {title}").render("{text}|{title}|{text}") == "a {title}|T|a {title}"


def test_outer_white_space_goes_and_empty_parts_leave_none():
    assert Doc("1", "", " text ").render() == "text"
    assert Doc("1", "title", "").render() == "title"
    assert Doc("1", "", "").render() == ""
