from tests.simulator.conftest import in_process
from tests.simulator.driver import ZoomDriver, configuration


async def test_a_personal_link_lets_its_owner_in(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(topic="Choir <b>")
    added = (await connected.add(meeting["id"])).json()
    page = await connected.http.get(added["join_url"])
    assert page.status_code == 200
    assert "You are in Choir &lt;b&gt; as Mia Moss" in page.text


async def test_a_link_of_nobody_lets_nobody_in(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    for tk in ("", "?tk=", "?tk=made-up"):
        assert (await connected.http.get(f"/w/{meeting['id']}{tk}")).status_code == 403


async def test_the_plain_link_leads_to_the_registration_form(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    for url in (meeting["join_url"], meeting["registration_url"]):
        page = await connected.http.get(url)
        assert page.status_code == 200
        assert "Register for Choir" in page.text


async def test_a_stranger_who_registers_waits_for_approval(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    form = {"first_name": "Sam", "last_name": "Stray", "email": "sam@stray.example"}
    page = await connected.http.post(meeting["registration_url"], data=form)
    assert "The host will review your registration." in page.text
    pending = (await connected.call("GET", f"/meetings/{meeting['id']}/registrants", status="pending")).json()
    assert [registrant["email"] for registrant in pending["registrants"]] == ["sam@stray.example"]
    wrong = await connected.http.post(meeting["registration_url"], data=form | {"email": "none"})
    assert wrong.status_code == 400


async def test_without_registration_the_plain_link_needs_its_passcode(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(approval_type=2)
    assert "You are in Choir" in (await connected.http.get(meeting["join_url"])).text
    assert (await connected.http.get(f"/j/{meeting['id']}")).status_code == 403


async def test_the_start_link_is_the_hosts_for_two_hours(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    page = await connected.http.get(meeting["start_url"])
    assert "You are the host" in page.text
    assert f'action="/simulator/meetings/{meeting["id"]}/start"' in page.text
    assert (await connected.http.get(f"/s/{meeting['id']}?zak=made-up")).status_code == 403
    await connected.control("PUT", "/clock", {"seconds": 7201})
    assert (await connected.http.get(meeting["start_url"])).status_code == 403


async def test_the_start_page_starts_the_meeting(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    assert (await connected.http.post(f"/simulator/meetings/{meeting['id']}/start")).json()["running"]
    assert "End the meeting" in (await connected.http.get(meeting["start_url"])).text


async def test_an_unknown_meeting_is_said_to_be_so(connected: ZoomDriver) -> None:
    page = await connected.http.get("/j/12345678901")
    assert page.status_code == 404
    assert "does not exist" in page.text


async def test_links_carry_the_public_url() -> None:
    async with in_process(configuration(public_url="https://zoom.example/")) as zoom:
        tokens = await zoom.connect()
        meeting = await zoom.meeting()
        added = (await zoom.add(meeting["id"])).json()
        assert tokens["api_url"] == "https://zoom.example"
        for url in (meeting["join_url"], meeting["start_url"], meeting["registration_url"], added["join_url"]):
            assert url.startswith("https://zoom.example/")
