"""Tests of the metrics that need something fetched: SPICE's archive over loopback, BERTScore and CLIPScore on small random models."""

import hashlib
import io
import json
import os
import ssl
import struct
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import numpy as np
import pytest

from helpers.core import java
from helpers.core.errors import InputError, ResourceError
from helpers.core.neural_scores import Models, bert_scores, clip_scores, find_model
from helpers.core.pairing import Pairs
from helpers.core.spice import JARS, RUNNER, SpiceSettings, fetch_corenlp, spice_scores

WORDS = {"a": ["a red dog", "two cars"], "b": ["a dog", "two cars"]}
GOLD = [["a red dog", "the dog"], ["two cars"]]


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word; /away leads out of https, /other to the archive. asked: every path, in order."""

    asked: list[str] = []

    def log_message(self, *_):
        """Nothing: the tests' own output is enough."""

    def do_GET(self):
        """A file, or a redirect."""
        self.asked.append(self.path)
        if self.path in ("/away", "/other"):
            self.send_response(302)
            self.send_header("Location", "http://downloads.invalid/corenlp.zip" if self.path == "/away" else "/corenlp.zip")
            self.end_headers()
        else:
            super().do_GET()


@contextmanager
def served(folder, context=None):
    """A server of a folder on loopback, over TLS with a context; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def archive(tmp_path):
    """A server on loopback with an archive of the real one's shape: (address, SHA-1)."""
    folder = tmp_path / "served"
    folder.mkdir()
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as files:
        for name in JARS:
            files.writestr(f"stanford-corenlp-full-2015-12-09/{name}", f"the bytes of {name}")
        files.writestr("../escape.jar", "never unpacked")
    (folder / "corenlp.zip").write_bytes(data.getvalue())
    with served(folder) as address:
        yield f"{address}/corenlp.zip", hashlib.sha1(data.getvalue()).hexdigest()


def certificate(folder):
    """A certificate for 127.0.0.1 signed by itself, made now: (certificate, key)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    signed = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
              .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
              .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
              .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    paths = folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return paths


def test_corenlp_is_fetched_checked_and_unpacked_once(archive, tmp_path):
    address, checksum = archive
    target = tmp_path / "cache" / "corenlp"
    paths = fetch_corenlp(target, address=address, sha1=checksum, progress=False)
    assert [path.read_text() for path in paths] == [f"the bytes of {name}" for name in JARS]
    assert sorted(path.name for path in target.iterdir()) == sorted(JARS) and not (tmp_path / "cache" / "escape.jar").exists()
    assert fetch_corenlp(target, address="https://nowhere.invalid/x.zip", progress=False) == paths  # there already: no request


def test_corenlp_comes_over_https_whose_certificate_is_checked(archive, tmp_path, monkeypatch):
    _, checksum = archive
    known, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known, key)
    with served(tmp_path / "served", context) as address:
        with pytest.raises(ResourceError, match="could not be fetched.*certificate"):
            fetch_corenlp(tmp_path / "a", address=f"{address}/corenlp.zip", sha1=checksum, progress=False)
        monkeypatch.setenv("SSL_CERT_FILE", str(known))
        with pytest.raises(ResourceError, match="instead of 55c9d653.*thrown away"):
            fetch_corenlp(tmp_path / "a", address=f"{address}/corenlp.zip", progress=False)
        with pytest.raises(InputError, match="downloads.invalid.*https only"):
            fetch_corenlp(tmp_path / "a", address=f"{address}/away", sha1=checksum, progress=False)
        assert list((tmp_path / "a").iterdir()) == []
        assert [path.name for path in fetch_corenlp(tmp_path / "a", address=f"{address}/other", sha1=checksum, progress=False)] == list(JARS)


def test_what_is_not_the_archive_is_thrown_away(archive, tmp_path):
    address, _ = archive
    with pytest.raises(ResourceError, match="instead of 55c9d653.*thrown away"):
        fetch_corenlp(tmp_path / "cache", address=address, progress=False)
    with pytest.raises(ResourceError, match="could not be fetched"):
        fetch_corenlp(tmp_path / "cache", address=address + ".gone", progress=False)
    with pytest.raises(InputError, match="https only"):
        fetch_corenlp(tmp_path / "cache", address="http://nlp.stanford.edu/software/x.zip", progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


def test_spice_says_what_it_lacks_and_asks_for_nothing(tmp_path):
    with pytest.raises(ResourceError, match="captionlab fetch spice"):
        spice_scores(WORDS, GOLD, "en", SpiceSettings(tmp_path))
    with pytest.raises(ResourceError, match="English only"):
        spice_scores(WORDS, GOLD, "zh", SpiceSettings(tmp_path))


def test_the_program_around_spice_is_compiled_for_java_17():
    magic, _, version = struct.unpack(">IHH", (RUNNER / "edu" / "anu" / "spice" / "SpiceRunner.class").read_bytes()[:8])
    assert magic == 0xCAFEBABE and version <= 61  # 61 is Java 17; every later Java reads it


def test_spices_own_program_starts_on_this_java_and_misses_its_parser(tmp_path):
    for name in JARS:
        zipfile.ZipFile(tmp_path / name, "w").close()  # jars without CoreNLP's classes: as far as SPICE gets without the download
    with pytest.raises(ResourceError, match="SPICE's Java program died.*edu/stanford/nlp"):
        spice_scores(WORDS, GOLD, "en", SpiceSettings(tmp_path))


def test_spices_scores_go_back_to_their_systems_and_its_memory_is_bounded(tmp_path, monkeypatch):
    """The command line and the file of scores, with a script in Java's place: it answers each caption with its number of words / 10."""
    for name in JARS:
        (tmp_path / name).touch()
    fake = tmp_path / "java"
    fake.write_text("#!/usr/bin/env python3\nimport json, sys\n"
                    f"json.dump(sys.argv, open({str(tmp_path / 'seen.json')!r}, 'w'))\n"
                    "jobs = json.load(open(sys.argv[-3]))\n"
                    "json.dump([{'image_id': j['image_id'], 'scores': {'All': {'f': len(j['test'].split()) / 10}}} for j in jobs[::-1]], open(sys.argv[-2], 'w'))\n")
    fake.chmod(0o755)
    monkeypatch.setattr(java, "find_java", lambda: fake)
    found, note = spice_scores(WORDS, GOLD, "en", SpiceSettings(tmp_path, memory="777m"))
    assert found["a"]["SPICE"].tolist() == [0.3, 0.2] and found["b"]["SPICE"].tolist() == [0.2, 0.2] and "3.6.0" in note
    assert "-Xmx777m" in json.loads((tmp_path / "seen.json").read_text())


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a random BERT of two layers over a few words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "dog", "two", "cars", "the"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab={word: place for place, word in enumerate(words)}).save_pretrained(folder)
    BertModel(BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                         max_position_embeddings=24)).save_pretrained(folder)
    return folder


def test_bertscore_is_greedy_matching_of_one_layers_states(bert):
    import torch
    from transformers import AutoModel, AutoTokenizer

    pairs = Pairs(["0", "1"], ["", ""], [None, None], GOLD, WORDS)
    found, note = bert_scores(pairs, "en", Models(bert=str(bert), bert_layer=1))
    assert f"model {bert.name}, layer 1" in note and str(bert.parent) not in note
    tokenizer, model = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert).eval()

    def states(text):
        with torch.inference_mode():
            layer = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[1][0]
        return torch.nn.functional.normalize(layer, dim=-1)

    def f1(text, wanted):
        # As its authors' program does it: the mean is over words, but a word may match the other side's [CLS] or [SEP] best.
        cosine = states(text) @ states(wanted).T
        precision, recall = cosine.max(1).values[1:-1].mean(), cosine.max(0).values[1:-1].mean()
        return float(2 * precision * recall / (precision + recall))

    assert found["b"]["BERTScore.f1"][0] == pytest.approx(max(f1("a dog", wanted) for wanted in GOLD[0]), abs=1e-4)
    assert found["a"]["BERTScore.f1"] == pytest.approx([1, 1], abs=1e-4)
    with pytest.raises(InputError, match="layers 0 to 2"):
        bert_scores(pairs, "en", Models(bert=str(bert), bert_layer=5))
    with pytest.raises(InputError, match="--bertscore-layer"):
        bert_scores(pairs, "en", Models(bert=str(bert)))


def test_a_model_that_is_not_here_names_its_remedy(monkeypatch, tmp_path):
    with pytest.raises(ResourceError, match="captionlab fetch bertscore.*HF_ENDPOINT"):
        find_model("captionlab-tests/no-such-model", "BERTScore", download=False)


def test_a_download_asks_the_mirror_that_hf_endpoint_names(tmp_path):
    """In a process of its own: the hub's library reads HF_ENDPOINT when it is imported."""
    code = ("from helpers.core.neural_scores import find_model\nfrom helpers.core.errors import ResourceError\n"
            "try:\n    find_model('captionlab-tests/none', 'BERTScore', download=True)\nexcept ResourceError as error:\n    print(error)")
    Quiet.asked.clear()
    with served(tmp_path) as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
        answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600)
    assert "BERTScore's model captionlab-tests/none could not be downloaded" in answer.stdout, answer.stderr
    assert any(path.startswith("/api/models/captionlab-tests/none") for path in Quiet.asked)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder with a random CLIP that reads 77 tokens."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    folder = tmp_path_factory.mktemp("clip")
    letters = [*"adeghnorstwcbi"]
    vocabulary = {piece: place for place, piece in enumerate(["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)])}
    tokenizer = CLIPTokenizerFast(vocab=vocabulary, merges=[])
    tokenizer.model_max_length = 77
    CLIPProcessor(image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), tokenizer=tokenizer).save_pretrained(folder)
    text = dict(vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, eos_token_id=1, bos_token_id=0, pad_token_id=1)
    vision = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    return folder


def test_clipscore_is_the_scaled_cosine_and_counts_what_it_cut(clip, tmp_path):
    import torch
    from PIL import Image
    from transformers import AutoModel, AutoProcessor

    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{number}.png")
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    captions = {"a": ["a red dog", "a cat"], "long": ["dog " * 100, "a dog"]}
    found, note = clip_scores(Pairs(["0", "1"], ["0.png", "1.png"], paths, GOLD, captions), "en", Models(clip=str(clip)))
    assert "reads 77 tokens, and 1 of 4 captions were longer" in note
    processor, model = AutoProcessor.from_pretrained(clip), AutoModel.from_pretrained(clip).eval()
    with torch.inference_mode():
        answer = model(**processor(text=["a cat"], images=[Image.open(paths[1])], return_tensors="pt", padding=True))
    cosine = torch.nn.functional.cosine_similarity(answer.image_embeds, answer.text_embeds).item()
    assert found["a"]["CLIPScore"][1] == pytest.approx(2.5 * max(cosine, 0), abs=1e-4)
    with pytest.raises(InputError, match="sample 1 was not found .1 of 2"):
        clip_scores(Pairs(["0", "1"], ["", ""], [paths[0], None], GOLD, captions), "en", Models(clip=str(clip)))
    assert np.isfinite(found["long"]["CLIPScore"]).all()
