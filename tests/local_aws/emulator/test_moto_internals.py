"""Everything of moto that the embedded AWS extends is listed, and a change to any of it is named."""

from local_aws.emulator.moto_changes import moto_internals

INVOKE = "moto.awslambda.models:LambdaFunction.invoke"


def test_no_internal_of_moto_has_changed() -> None:
    changed = moto_internals.find_changed(moto_internals.read_list())
    assert changed is None, f"moto changed {changed}: compare it with what replaces or uses it, then write the list"


def test_every_import_and_replacement_is_listed() -> None:
    found = moto_internals.found_names()
    assert INVOKE in found and "moto.s3.responses:S3Response.put_object" in found
    assert found == moto_internals.read_list().keys(), "run: python -m local_aws.emulator.moto_changes.moto_internals"


def test_the_first_change_is_named() -> None:
    listed = moto_internals.read_list()
    assert moto_internals.find_changed(listed | {INVOKE: "0" * 16, "moto.s3.models:FakeBucket": "0"}) == INVOKE
    removed = "moto.awslambda.models:LambdaFunction.gone"
    assert moto_internals.find_changed({removed: "0" * 16}) == removed
    assert moto_internals.find_changed({"moto.gone.models:X": "0" * 16}) == "moto.gone.models:X"
