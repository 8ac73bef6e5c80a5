"""Signatures in the store: a logged model's folder carries one, and the record of its proof that it covers."""

import mlflow

from tasks.core.errors import ExportError, SignatureError
from tasks.core.hashes import file_sha256
from tasks.core.provenance.signatures import SIGNATURE_FILE, check_signature, is_expected, sign, signer_id
from tasks.core.records.steps import Graph
from tasks.core.runtime.work_folders import work_folder
from tasks.mlflow_store.releases import GRAPH_FILE, download_model
from tasks.mlflow_store.stored_files import proven_hashes

SIGNED_BY = "assay.signed_by"
"""Tag of a logged model: SHA-256 of the public key, in PEM, whose signature it bears."""


def sign_model(client: mlflow.MlflowClient, model_id: str, graph: Graph, *, record: tuple[str, str]) -> None:
    """Put the record of a proof and a signature beside the files of a logged model, where a key is set.

    Args:
        client: of the store.
        model_id: of the logged model.
        graph: what was proven.
        record: name and content of the file with the evidence.

    Raises:
        ExportError: what the store gives back is not what was proven.
    """
    if not (signer := signer_id()):
        return
    with work_folder() as folder:
        place = download_model(model_id, folder)
        (place / record[0]).write_text(record[1], encoding="utf-8")
        signed = {path.name: path for path in place.iterdir() if path.is_file()}
        for name, sha256 in proven_hashes(graph).items():  # of these very bytes, not of those that were checked before
            if name not in signed or file_sha256(signed[name]) != sha256:
                raise ExportError(f"The artifact store gave back another {name} than was proven; nothing was signed.")
        sign(signed, place / SIGNATURE_FILE)
        for name in (record[0], SIGNATURE_FILE):
            client.log_model_artifact(model_id, str(place / name))
    client.set_logged_model_tags(model_id, {SIGNED_BY: signer})


def lacks_signature(client: mlflow.MlflowClient, model_id: str) -> str:
    """Why a logged model has to be signed anew, in a few words; empty: it need not.

    Args:
        client: of the store.
        model_id: of the logged model, which exists.
    """
    signer = signer_id()
    if not signer or client.get_logged_model(model_id).tags.get(SIGNED_BY) == signer:
        return ""
    return "it is not signed with the key that is set"


def wrong_signature(model_id: str) -> str:
    """What is wrong with the signature of a logged model, in one sentence; empty: it holds, or none is expected.

    Args:
        model_id: of the logged model, which exists.
    """
    if not is_expected():  # it need not be fetched
        return ""
    with work_folder() as folder:
        place = download_model(model_id, folder)
        try:
            check_signature(place / GRAPH_FILE)
        except SignatureError as error:
            return str(error).replace(f"{place}/", "")
    return ""
