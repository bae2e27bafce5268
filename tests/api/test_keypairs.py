"""Key pairs: imported, made, listed, and whose they are."""

import base64

import pytest

from tests.api.client import Client, TestCloud

RSA = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDX5gpdEzrvM3icFZY+3T2dlYpX2WzXEO0midXa5ROOUz8ql9kvHY"
    "uDohzOyUe5nWijr8sOneCJkngISQn3ISrlJzQAk7sjYRkcUkEcbBRvZaDIIOp/XkTDqmZWEeqNVB07sOtiJvKwheMe"
    "vCeC+FEPbCAVznC/jMLQBfcoj2kIGwPZgxaonlbFZsxe40kWnvj8hgXSnWRlteIhDhomYjnbbOdKpsIf/RVjCIn807"
    "7Twwo2ChPhk8r5CRtdcfTQFnk9u2eTdCDbjJUXp+BY5BZ1/S3FIEAHxQy0QcZYwTTc2PSSOzadarwKyDkeOgV0Haac"
    "2wpEUXzgXvXi+ZjLvZCH someone@somewhere"
)
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILU9/bE7OoYmO+J6JPqCZdHtukphL+PW9KDISdEYuyJ8"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFDcCO7sc1/A8N8hmG"
    "8Z52KFjLC3lWCM6IlwfqGhMei/NXamTq5ZbJUcJx6JcY/YSlM70TBUTFB0eQXJZDverSk= x y"
)
FINGERPRINTS = {
    RSA: "0c:f9:77:e3:32:18:35:f7:cb:1c:78:17:04:cc:02:96",
    ED25519: "b5:fa:26:6c:a2:b7:6b:91:ea:0a:88:6a:3b:b0:5d:87",
    ECDSA: "67:d9:00:7f:38:04:be:3a:75:dc:40:9b:de:cd:73:be",
}
"""As `ssh-keygen -l -E md5` gives them."""


async def names(client: Client, query: str = "", version: str | None = None) -> list[str]:
    answer = await client.get(f"/compute/os-keypairs{query}", version)
    assert answer.status_code == 200, answer.text
    return [entry["keypair"]["name"] for entry in answer.json()["keypairs"]]


@pytest.mark.parametrize("key", FINGERPRINTS)
async def test_a_public_key_is_imported_and_comes_back_as_it_was(client: Client, key: str) -> None:
    sent = key + "\n"
    made = await client.made("/compute/os-keypairs", {"keypair": {"name": "mine", "public_key": sent}})
    assert made == {
        "name": "mine",
        "public_key": sent,
        "fingerprint": FINGERPRINTS[key],
        "user_id": client.user_id,
    }
    shown = (await client.get("/compute/os-keypairs/mine")).json()["keypair"]
    assert shown.items() >= made.items()
    assert (shown["deleted"], shown["deleted_at"], shown["updated_at"]) == (False, None, None)
    assert isinstance(shown["id"], int)
    assert shown["created_at"] > "2020"


async def test_a_key_pair_can_be_made_and_the_private_key_is_told_once(client: Client) -> None:
    made = await client.made("/compute/os-keypairs", {"keypair": {"name": "made"}}, "2.91")
    assert made["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert made["public_key"].startswith("ssh-ed25519 ")
    shown = (await client.get("/compute/os-keypairs/made")).json()["keypair"]
    assert "private_key" not in shown
    assert shown["fingerprint"] == made["fingerprint"]


async def test_from_2_92_on_keys_are_imported_only(client: Client) -> None:
    body = {"keypair": {"name": "me@home.example", "public_key": ED25519}}
    without = await client.post("/compute/os-keypairs", {"keypair": {"name": "made"}}, "2.92")
    assert without.status_code == 400
    assert "public_key" in without.json()["badRequest"]["message"]
    assert (await client.post("/compute/os-keypairs", body, "2.91")).status_code == 400
    assert (await client.post("/compute/os-keypairs", body, "2.92")).status_code == 201
    assert (await client.get("/compute/os-keypairs/me@home.example")).status_code == 200


async def test_statuses_and_types_came_with_2_2(client: Client) -> None:
    body = {"keypair": {"name": "mine", "public_key": ED25519}}
    old = await client.post("/compute/os-keypairs", body)
    assert (old.status_code, "type" in old.json()["keypair"]) == (200, False)
    assert (await client.delete("/compute/os-keypairs/mine")).status_code == 202
    new = await client.post("/compute/os-keypairs", body, "2.2")
    assert (new.status_code, new.json()["keypair"]["type"]) == (201, "ssh")
    assert (await client.delete("/compute/os-keypairs/mine", "2.2")).status_code == 204
    assert (await client.delete("/compute/os-keypairs/mine", "2.2")).status_code == 404
    typed = {"keypair": {**body["keypair"], "type": "ssh"}}
    assert (await client.post("/compute/os-keypairs", typed, "2.1")).status_code == 400
    assert (await client.post("/compute/os-keypairs", typed, "2.2")).status_code == 201


async def test_a_certificate_is_a_key_too(client: Client) -> None:
    body = {"keypair": {"name": "windows", "type": "x509"}}
    made = await client.made("/compute/os-keypairs", body, "2.2")
    assert made["type"] == "x509"
    assert made["private_key"].startswith("-----BEGIN PRIVATE KEY-----")
    assert len(made["fingerprint"].split(":")) == 20
    again = {"keypair": {"name": "again", "type": "x509", "public_key": made["public_key"]}}
    imported = await client.made("/compute/os-keypairs", again, "2.92")
    assert imported["fingerprint"] == made["fingerprint"]
    wrong = {"keypair": {"name": "wrong", "type": "x509", "public_key": ED25519}}
    assert (await client.post("/compute/os-keypairs", wrong, "2.2")).status_code == 400
    swapped = {"keypair": {"name": "wrong", "public_key": made["public_key"]}}
    assert (await client.post("/compute/os-keypairs", swapped, "2.2")).status_code == 400


async def test_a_certificate_of_no_known_version_is_refused(client: Client) -> None:
    body = {"keypair": {"name": "made", "type": "x509"}}
    made = await client.made("/compute/os-keypairs", body, "2.2")
    lines = made["public_key"].strip().splitlines()
    der = base64.b64decode("".join(lines[1:-1]))
    version = bytes.fromhex("a003020102")
    assert version in der
    wrong = base64.b64encode(der.replace(version, bytes.fromhex("a003020107"), 1)).decode()
    key = "\n".join((lines[0], wrong, lines[-1], ""))
    answer = await client.post("/compute/os-keypairs", {"keypair": {**body["keypair"], "public_key": key}}, "2.2")
    assert answer.status_code == 400, answer.text
    assert answer.json()["badRequest"]["message"].startswith("Keypair data is invalid")


async def test_a_certificate_has_room_for_its_user(admin: Client) -> None:
    for user_id, status in (("u" * 64, 201), ("\u00e9" * 40, 400), ("a b", 400)):
        body = {"keypair": {"name": "made", "type": "x509", "user_id": user_id}}
        answer = await admin.post("/compute/os-keypairs", body, "2.10")
        assert answer.status_code == status, answer.text


async def test_a_name_is_taken_once(client: Client, other: Client) -> None:
    body = {"keypair": {"name": "mine", "public_key": ED25519}}
    await client.made("/compute/os-keypairs", body)
    again = await client.post("/compute/os-keypairs", body)
    assert again.status_code == 409
    assert again.json()["conflictingRequest"]["message"] == "Key pair 'mine' already exists."
    await other.made("/compute/os-keypairs", body)


@pytest.mark.parametrize(
    "name", ["", " ", " x", "x ", "x" * 256, "a/b", "a!b", "a.b", "a\u0000", "\u00e9", None, 7, "a\nb"]
)
async def test_bad_names_are_refused(client: Client, name: object) -> None:
    answer = await client.post("/compute/os-keypairs", {"keypair": {"name": name, "public_key": ED25519}})
    assert answer.status_code == 400
    assert "name" in answer.json()["badRequest"]["message"]
    assert await names(client) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "ssh-rsa",
        "ssh-rsa JUNK me@here",
        "ssh-rsa " + "A" * 2048 + " me@here",
        "ssh-dss AAAA",
        ED25519.replace("ssh-ed25519", "ssh-rsa"),
        ED25519[:40],
        ED25519 + "\nssh-rsa AAAA",
        ED25519 + "\u0000",
        "\u00e9" * 100,
        "ssh-ed25519 " + "A" * 40_000,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        None,
        5,
    ],
)
async def test_what_is_no_public_key_is_refused(client: Client, key: object) -> None:
    answer = await client.post("/compute/os-keypairs", {"keypair": {"name": "bad", "public_key": key}})
    assert answer.status_code == 400
    assert await names(client) == []


async def test_lists_come_by_name_and_in_pages(client: Client) -> None:
    for name in ("c", "a", "b"):
        await client.made("/compute/os-keypairs", {"keypair": {"name": name, "public_key": ED25519}})
    assert await names(client) == ["a", "b", "c"]
    assert await names(client, "?limit=1", "2.34") == ["a", "b", "c"]
    first = (await client.get("/compute/os-keypairs?limit=2", "2.35")).json()
    assert [entry["keypair"]["name"] for entry in first["keypairs"]] == ["a", "b"]
    assert first["keypairs_links"][0]["href"].endswith("os-keypairs?limit=2&marker=b")
    assert await names(client, "?limit=2&marker=b", "2.35") == ["c"]
    assert (await client.get("/compute/os-keypairs?marker=z", "2.35")).status_code == 400


async def test_only_administrators_handle_key_pairs_of_others(client: Client, other: Client, admin: Client) -> None:
    body = {"keypair": {"name": "theirs", "public_key": ED25519, "user_id": other.user_id}}
    assert (await client.post("/compute/os-keypairs", body, "2.10")).status_code == 403
    assert (await admin.post("/compute/os-keypairs", body, "2.9")).status_code == 400
    made = await admin.made("/compute/os-keypairs", body, "2.10")
    assert made["user_id"] == other.user_id
    assert await names(other) == ["theirs"]
    assert await names(admin) == []
    assert await names(admin, f"?user_id={other.user_id}", "2.10") == ["theirs"]
    assert (await client.get("/compute/os-keypairs/theirs")).status_code == 404
    path = f"/compute/os-keypairs/theirs?user_id={other.user_id}"
    assert (await client.get(path, "2.10")).status_code == 403
    assert (await admin.delete(path, "2.10")).status_code == 204
    assert await names(other) == []


async def test_there_is_a_limit(cloud: TestCloud, client: Client, admin: Client) -> None:
    body = {"quota_set": {"key_pairs": 1}}
    assert (await admin.put(f"/compute/os-quota-sets/{client.project_id}", body)).status_code == 200
    await client.made("/compute/os-keypairs", {"keypair": {"name": "one", "public_key": ED25519}})
    second = await client.post("/compute/os-keypairs", {"keypair": {"name": "two", "public_key": ED25519}})
    assert second.status_code == 403
    assert second.json()["forbidden"]["message"] == "Quota exceeded, too many key pairs."
