"""Cloud recordings (contract 8.1, 11.5): created inside Zoom, notified, listed.

Their links lead nowhere.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from app.simulator import notifications
from app.simulator.clock import zoom_time
from app.simulator.errors import ZoomResponse, recording_missing
from app.simulator.ids import random_id, random_passcode, random_token
from app.simulator.latest_instance import latest_instance
from app.simulator.meeting_actions import NotPossibleError
from app.simulator.notifications import Notification
from app.simulator.operations import Call, Handler, Operation
from app.simulator.simulator import Simulator
from app.simulator.state import Instance, Json, Meeting, Recording, RecordingFile

LIST = Operation(
    "recordingGet",
    "GET",
    "/meetings/{meeting_id}/recordings",
    "Light",
    "cloud_recording:read:list_recording_files",
    ("recording:read",),
)
FileType = Literal["MP4", "M4A", "CHAT", "CSV"]
# File extension and `recording_type` of each type of file.
_FILE_FORMATS = {
    "MP4": ("MP4", "shared_screen_with_speaker_view"),
    "M4A": ("M4A", "audio_only"),
    "CHAT": ("TXT", "chat_file"),
    "CSV": ("CSV", "poll"),
    "TRANSCRIPT": ("VTT", "audio_transcript"),
}
TRANSCRIPT_SIZE = 12_000  # bytes


@dataclass(frozen=True)
class NewFile:
    """A file to create, with `file_size` in bytes."""

    file_type: FileType | Literal["TRANSCRIPT"]
    file_size: int


def record(
    simulator: Simulator, meeting: Meeting, files: Sequence[NewFile], minutes: float | None = None
) -> list[Notification]:
    """Record the last `minutes` of the running instance, or of the last one; all of it by default.

    Raises `NotPossibleError` if the meeting has no instance, or if its host has no cloud recording.
    """
    host = simulator.state.host(meeting)
    if simulator.state.accounts[meeting.account_id].plan == "free" or not host.settings["recording"]["cloud_recording"]:
        raise NotPossibleError("The host has no cloud recording.")
    if not meeting.instances:
        raise NotPossibleError("The meeting was never held.")
    instance = meeting.instances[-1]
    if instance.recording is None:
        instance.recording = _new_recording(simulator, meeting)
    ends = instance.ended_at or simulator.now()
    starts = instance.started_at if minutes is None else max(instance.started_at, ends - timedelta(minutes=minutes))
    instance.recording.files += [
        RecordingFile(random_id(), file.file_type, file.file_size, starts, ends) for file in files
    ]
    return [_notification(simulator, "completed", meeting, instance, instance.recording, instance.recording.files)]


def transcribe(simulator: Simulator, meeting: Meeting) -> list[Notification]:
    """Transcribe the last recording.

    Raises `NotPossibleError` if there is none, or if the account's plan has no transcripts.
    """
    if simulator.state.accounts[meeting.account_id].plan != "business":
        raise NotPossibleError("The account's plan has no audio transcripts.")
    instance = meeting.instances[-1] if meeting.instances else None
    if instance is None or instance.recording is None:
        raise NotPossibleError("There is no recording to transcribe.")
    first_file = instance.recording.files[0]
    transcript = RecordingFile(random_id(), "TRANSCRIPT", TRANSCRIPT_SIZE, first_file.starts_at, first_file.ends_at)
    instance.recording.files.append(transcript)
    return [_notification(simulator, "transcript_completed", meeting, instance, instance.recording, [transcript])]


def list_recordings(call: Call) -> ZoomResponse:
    """GET /meetings/{meetingId}/recordings: 200, or 404/3301 if there is none."""
    found = latest_instance(call)
    if found is None or found[1].recording is None:
        raise recording_missing()
    meeting, instance = found
    body = _to_json(meeting, instance, found[1].recording, found[1].recording.files)
    return ZoomResponse(200, body | {"type": str(meeting.type)})


def _new_recording(simulator: Simulator, meeting: Meeting) -> Recording:
    share_url = f"{meeting.base_url}/rec/share/{secrets.token_urlsafe(48)}"
    return Recording(
        simulator.issue_secret("recording_share_url", share_url),
        simulator.issue_secret("recording_password", random_passcode()),
        simulator.issue_secret("recording_play_passcode", secrets.token_urlsafe(24)),
    )


def _notification(
    simulator: Simulator,
    what: Literal["completed", "transcript_completed"],
    meeting: Meeting,
    instance: Instance,
    recording: Recording,
    files: Sequence[RecordingFile],
) -> Notification:
    host = simulator.state.host(meeting)
    subject = _to_json(meeting, instance, recording, files)
    host_fields = {"host_email": host.email, "timezone": meeting.timezone, "on_prem": False}
    return notifications.recording(
        what, meeting, subject | host_fields, simulator.issue_secret("download_token", random_token())
    )


def _to_json(meeting: Meeting, instance: Instance, recording: Recording, files: Sequence[RecordingFile]) -> Json:
    ends = max(file.ends_at for file in recording.files)
    return {
        "uuid": instance.uuid,
        "id": meeting.id,
        "account_id": meeting.account_id,
        "host_id": meeting.host_id,
        "topic": meeting.topic,
        "type": meeting.type,
        "start_time": zoom_time(instance.started_at),
        "duration": int((ends - instance.started_at).total_seconds() // 60),
        "share_url": recording.share_url,
        "password": recording.password,
        "recording_play_passcode": recording.play_passcode,
        "auto_delete": False,
        "total_size": sum(file.size for file in files),
        "recording_count": len(files),
        "recording_files": [_file(meeting, instance, file) for file in files],
        "participant_audio_files": [],
    }


def _file(meeting: Meeting, instance: Instance, file: RecordingFile) -> Json:
    extension, recording_type = _FILE_FORMATS[file.file_type]
    return {
        "id": file.id,
        "meeting_id": instance.uuid,
        "recording_start": zoom_time(file.starts_at),
        "recording_end": zoom_time(file.ends_at),
        "file_type": file.file_type,
        "file_extension": extension,
        "file_size": file.size,
        "play_url": f"{meeting.base_url}/rec/play/{file.id}",
        "download_url": f"{meeting.base_url}/rec/download/{file.id}",
        "status": "completed",
        "recording_type": recording_type,
    }


OPERATIONS: list[tuple[Operation, Handler]] = [(LIST, list_recordings)]
