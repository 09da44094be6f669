"""Licences of photos: addresses of Creative Commons, ids of Wikimedia Commons, what is refused."""

import pytest

from whichlandmark.data.licences import (
    CC0,
    CONTRADICTION,
    NO_DERIVATIVES,
    NO_LICENCE,
    NON_COMMERCIAL,
    NOT_FREE,
    NOT_UNDERSTOOD,
    PUBLIC_DOMAIN,
    Licence,
    licence_of_commons,
    licence_of_url,
)

CC = "https://creativecommons.org"


@pytest.mark.parametrize(
    ("url", "name", "plain"),
    [
        (f"{CC}/licenses/by/4.0/", "CC BY 4.0", "/licenses/by/4.0/"),
        (f"{CC}/licenses/by-sa/4.0", "CC BY-SA 4.0", "/licenses/by-sa/4.0/"),
        ("http://creativecommons.org/licenses/by/2.0", "CC BY 2.0", "/licenses/by/2.0/"),
        ("http://www.creativecommons.org/licenses/by/2.5/", "CC BY 2.5", "/licenses/by/2.5/"),
        ("//creativecommons.org/licenses/by/1.0/", "CC BY 1.0", "/licenses/by/1.0/"),
        ("creativecommons.org/licenses/by/1.0/", "CC BY 1.0", "/licenses/by/1.0/"),
        (f" {CC}/licenses/by-sa/3.0/deed.en ", "CC BY-SA 3.0", "/licenses/by-sa/3.0/"),
        (f"{CC}/licenses/by-sa/3.0/de/", "CC BY-SA 3.0 DE", "/licenses/by-sa/3.0/de/"),
        (f"{CC}/licenses/by-sa/3.0/de/deed.pt_BR", "CC BY-SA 3.0 DE", "/licenses/by-sa/3.0/de/"),
        (f"{CC}/licenses/by/2.1/jp/", "CC BY 2.1 JP", "/licenses/by/2.1/jp/"),
        (f"{CC}/licenses/by/2.5/scotland/", "CC BY 2.5 Scotland", "/licenses/by/2.5/scotland/"),
        (f"{CC}/licenses/by-sa/3.0/igo/", "CC BY-SA 3.0 IGO", "/licenses/by-sa/3.0/igo/"),
        (f"{CC}/licenses/by/4.0/legalcode", "CC BY 4.0", "/licenses/by/4.0/"),
        (f"{CC}/licenses/by/4.0/legalcode.zh-hans", "CC BY 4.0", "/licenses/by/4.0/"),
        (f"{CC}/licenses/by/4.0/?ref=chooser-v1#x", "CC BY 4.0", "/licenses/by/4.0/"),
        (f"{CC}/licenses/BY-SA/4.0//", "CC BY-SA 4.0", "/licenses/by-sa/4.0/"),
        (f"{CC}/licenses/sa/1.0/", "CC SA 1.0", "/licenses/sa/1.0/"),
        (f"{CC}/publicdomain/zero/1.0/deed.en", "CC0 1.0", "/publicdomain/zero/1.0/"),
        ("http://creativecommons.org/publicdomain/zero/1.0", "CC0 1.0", "/publicdomain/zero/1.0/"),
        (f"{CC}/publicdomain/mark/1.0/", "Public domain", "/publicdomain/mark/1.0/"),
        (f"{CC}/licenses/publicdomain/", "Public domain", "/licenses/publicdomain/"),
    ],
)
def test_a_free_licence_of_creative_commons(url: str, name: str, plain: str) -> None:
    assert licence_of_url(url) == Licence(name, CC + plain)


@pytest.mark.parametrize(
    ("path", "name", "refused"),
    [
        ("by-nc/2.0", "CC BY-NC 2.0", NON_COMMERCIAL),
        ("by-nc-sa/4.0", "CC BY-NC-SA 4.0", NON_COMMERCIAL),
        ("by-nc-nd/3.0/us", "CC BY-NC-ND 3.0 US", NON_COMMERCIAL),
        ("by-nd/4.0", "CC BY-ND 4.0", NO_DERIVATIVES),
        ("by-nd-nc/1.0", "CC BY-ND-NC 1.0", NON_COMMERCIAL),
        ("nc-sa/1.0", "CC NC-SA 1.0", NON_COMMERCIAL),
        ("nd/1.0", "CC ND 1.0", NO_DERIVATIVES),
    ],
)
def test_an_address_of_a_licence_that_forbids_something(path: str, name: str, refused: str) -> None:
    assert licence_of_url(f"{CC}/licenses/{path}/") == Licence(
        name, f"{CC}/licenses/{path}/", refused
    )


@pytest.mark.parametrize(
    "url",
    [
        f"{CC}/", f"{CC}/licenses/", f"{CC}/licenses/by/", f"{CC}/licenses/by/9.9/",
        f"{CC}/licenses/sampling+/1.0/", f"{CC}/licenses/devnations/2.0/",
        f"{CC}/licenses/by/4.0/../../by-nc/4.0/", f"{CC}/publicdomain/zero/2.0/",
        "https://creativecommons.org.example.org/licenses/by/4.0/",
        "https://example.org/creativecommons.org/licenses/by/4.0/",
        "https://user@creativecommons.org/licenses/by/4.0/",
        "https://creativecommons.org:8443/licenses/by/4.0/",
        "http://www.gnu.org/copyleft/fdl.html", "https://artlibre.org/licence/lal/en",
        "https://[/licenses/by/4.0/",
    ],
)  # fmt: skip
def test_another_address_is_not_understood_and_kept(url: str) -> None:
    assert licence_of_url(url) == Licence(url, url, NOT_UNDERSTOOD)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "CC BY 4.0", "ftp://creativecommons.org/"])
def test_what_is_no_web_address_is_not_kept_as_one(url: str) -> None:
    assert licence_of_url(url) == Licence(url, "", NOT_UNDERSTOOD)


def test_no_address() -> None:
    assert licence_of_url("  ") == Licence("", "", NO_LICENCE)


@pytest.mark.parametrize(
    ("code", "short_name", "name", "path"),
    [
        ("cc-by-sa-4.0", "CC BY-SA 4.0", "CC BY-SA 4.0", "by-sa/4.0"),
        ("cc-by-2.0", "CC BY 2.0", "CC BY 2.0", "by/2.0"),
        ("cc-by-4", "", "CC BY 4.0", "by/4.0"),
        ("cc-by-sa-3.0-de", "CC BY-SA 3.0 de", "CC BY-SA 3.0 DE", "by-sa/3.0/de"),
        ("cc-by-2.0-scotland", "", "CC BY 2.0 Scotland", "by/2.0/scotland"),
        ("cc-by-sa-4.0-de", "", "CC BY-SA 4.0", "by-sa/4.0"),
        ("cc-sa-1.0", "CC SA 1.0", "CC SA 1.0", "sa/1.0"),
        ("cc-by-sa-3.0-migrated", "", "CC BY-SA 3.0", "by-sa/3.0"),
        ("cc-by-sa-3.0-migrated-with-disclaimers", "", "CC BY-SA 3.0", "by-sa/3.0"),
        ("cc-by-sa-3.0-2.5-2.0-1.0", "", "CC BY-SA 3.0", "by-sa/3.0"),
        ("cc-by-sa-2.5,2.0,1.0", "", "CC BY-SA 2.5", "by-sa/2.5"),
        ("cc-by-sa-1.0+", "", "CC BY-SA 3.0", "by-sa/3.0"),
        ("cc-by-sa-all", "", "CC BY-SA 3.0", "by-sa/3.0"),
        ("cc-by-2.0-stma", "", "CC BY 2.0", "by/2.0"),
        ("", "CC BY-SA 3.0,2.5,2.0,1.0", "CC BY-SA 3.0", "by-sa/3.0"),
        ("", "CC BY-SA 4.0-3.0-2.5-2.0-1.0", "CC BY-SA 4.0", "by-sa/4.0"),
        ("", "CC BY-SA 1.0, 2.0 , 2.5", "CC BY-SA 2.5", "by-sa/2.5"),
        ("", "CC BY-SA 3.0 IGO", "CC BY-SA 3.0 IGO", "by-sa/3.0/igo"),
        ("", "Creative Commons BY-SA 4.0 International", "CC BY-SA 4.0", "by-sa/4.0"),
        ("", "GFDL or CC BY-SA 3.0", "CC BY-SA 3.0", "by-sa/3.0"),
        ("", "GFDL, CC-BY-SA-3.0", "CC BY-SA 3.0", "by-sa/3.0"),
        ("cc-by-sa-3.0", "GFDL", "CC BY-SA 3.0", "by-sa/3.0"),
        ("", "cc_by_sa_3.0", "CC BY-SA 3.0", "by-sa/3.0"),
        ("CC-BY-SA-3.0", "", "CC BY-SA 3.0", "by-sa/3.0"),
    ],
)
def test_a_free_licence_of_commons_has_a_plain_name_and_an_address(
    code: str, short_name: str, name: str, path: str
) -> None:
    expected = Licence(name, f"{CC}/licenses/{path}/")
    assert licence_of_commons(code, short_name, "") == expected
    assert licence_of_commons(code, short_name, f"http://creativecommons.org/licenses/{path}"
                              "/deed.fr") == expected  # fmt: skip


@pytest.mark.parametrize(
    ("code", "short_name"),
    [("pd", "Public domain"), ("cc-pd", ""), ("", "PD"), ("pd-old-100", ""), ("", "PD-USGov"),
     ("pd", "")],
)  # fmt: skip
def test_the_public_domain(code: str, short_name: str) -> None:
    assert licence_of_commons(code, short_name, "") == PUBLIC_DOMAIN
    elsewhere = "https://commons.wikimedia.org/wiki/Template:PD-old"
    assert licence_of_commons(code, short_name, elsewhere) == PUBLIC_DOMAIN
    assert licence_of_commons(code, short_name, f"{CC}/licenses/publicdomain/") == PUBLIC_DOMAIN
    assert licence_of_commons(code, short_name, CC0.url) == CC0


@pytest.mark.parametrize(("code", "short_name"), [("cc0", "CC0"), ("", "CC0 1.0"), ("cc-zero", "")])
def test_cc0(code: str, short_name: str) -> None:
    assert licence_of_commons(code, short_name, "") == CC0
    assert licence_of_commons(code, short_name, PUBLIC_DOMAIN.url) == CC0


@pytest.mark.parametrize(
    ("code", "short_name", "url", "name", "refused"),
    [
        ("", "CC BY-NC 3.0", "", "CC BY-NC 3.0", NON_COMMERCIAL),
        ("cc-by-nc-sa-4.0", "", "", "CC BY-NC-SA 4.0", NON_COMMERCIAL),
        ("", "CC BY-ND 2.0 fr", "", "CC BY-ND 2.0 FR", NO_DERIVATIVES),
        ("", "GFDL 1.2 or CC BY-NC 3.0", "", "CC BY-NC 3.0", NON_COMMERCIAL),
        ("", "Attribution-NonCommercial", "", "Attribution-NonCommercial", NON_COMMERCIAL),
        ("", "No derivatives", "", "No derivatives", NO_DERIVATIVES),
        ("cc-by-4.0", "CC BY-NC 4.0", "", "CC BY 4.0", NON_COMMERCIAL),
        ("cc-by-4.0", "CC BY 4.0", f"{CC}/licenses/by-nc/4.0/", "CC BY 4.0", NON_COMMERCIAL),
        ("", "", f"{CC}/licenses/by-nd/4.0/", "CC BY-ND 4.0", NO_DERIVATIVES),
        ("cc-by-4.0", "CC BY 4.0", f"{CC}/licenses/by-sa/4.0/", "CC BY 4.0", CONTRADICTION),
        ("pd", "Public domain", f"{CC}/licenses/by/4.0/", "Public domain", CONTRADICTION),
        ("", "GFDL", "", "GFDL", NOT_UNDERSTOOD),
        ("", "GFDL 1.2", f"{CC}/licenses/by/4.0/", "GFDL 1.2", NOT_UNDERSTOOD),
        ("", "FAL", "https://artlibre.org", "FAL", NOT_UNDERSTOOD),
        ("", "Attribution", "", "Attribution", NOT_UNDERSTOOD),
        ("", "No restrictions", "", "No restrictions", NOT_UNDERSTOOD),
        ("", "CC BY-SA", "", "CC BY-SA", NOT_UNDERSTOOD),
        ("cc-by-9.9", "", "", "cc-by-9.9", NOT_UNDERSTOOD),
        ("cc-by-2.0-foo", "", "", "cc-by-2.0-foo", NOT_UNDERSTOOD),
        ("not-pd-us", "", "", "not-pd-us", NOT_UNDERSTOOD),
        ("", "", "", "", NO_LICENCE),
        (" ", " ", " ", "", NO_LICENCE),
    ],
)
def test_what_commons_says_is_refused(
    code: str, short_name: str, url: str, name: str, refused: str
) -> None:
    found = licence_of_commons(code, short_name, url)
    assert (found.name, found.refused) == (name, refused)


@pytest.mark.parametrize("non_free", ["1", "true", "yes", True])
def test_a_file_marked_as_not_free_is_refused_whatever_its_licence(non_free: str | bool) -> None:
    found = licence_of_commons("cc-by-4.0", "CC BY 4.0", "", non_free)
    assert found == Licence("CC BY 4.0", f"{CC}/licenses/by/4.0/", NOT_FREE)
    assert licence_of_commons("", "", CC0.url, non_free).refused == NOT_FREE
    assert licence_of_commons("", "", "", non_free).refused == NOT_FREE


@pytest.mark.parametrize("non_free", ["", "0", "false", False])
def test_a_file_not_marked_as_unfree(non_free: str | bool) -> None:
    assert licence_of_commons("cc0", "CC0", "", non_free) == CC0


def test_an_address_alone_is_enough_where_the_name_is_of_creative_commons() -> None:
    url = f"{CC}/licenses/by-sa/3.0/"
    expected = Licence("CC BY-SA 3.0", url)
    assert licence_of_commons("", "", url) == expected
    assert licence_of_commons("", "Creative Commons Attribution-Share Alike", url) == expected
    assert licence_of_commons("", "CC BY-SA", url) == expected


def test_the_address_of_another_version_gives_way_to_the_name() -> None:
    found = licence_of_commons("cc-by-sa-3.0", "CC BY-SA 3.0", f"{CC}/licenses/by-sa/1.0/")
    assert found == Licence("CC BY-SA 3.0", f"{CC}/licenses/by-sa/3.0/")
