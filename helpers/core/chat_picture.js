// The picture panel: what is talked about, a gallery, and every way to send one's own picture.
// Files go to the kernel in pieces of 1 MiB, since a websocket takes no large message. All text is set as text.

const MAX_BYTES = 20 * 2 ** 20;
const PIECE = 2 ** 20;

function element(tag, name, parent, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  if (name) made.className = name;
  if (parent) parent.append(made);
  return made;
}

function render({ model, el }) {
  const words = () => model.get("words");
  el.classList.add("captionlab-picture");
  const panel = element("section", "captionlab-drop", el);
  const frame = element("div", "captionlab-preview", panel);
  const image = element("img", "", frame);
  const video = element("video", "", frame, { muted: true, playsInline: true, hidden: true });
  const caption = element("p", "captionlab-picture-name", panel);
  const buttons = element("div", "captionlab-buttons", panel);
  const file = element("input", "captionlab-file", buttons, { type: "file", accept: "image/*", tabIndex: -1 });
  const upload = element("button", "captionlab-button captionlab-upload", buttons, { type: "button" });
  const camera = element("button", "captionlab-button captionlab-camera", buttons, { type: "button" });
  const snap = element("button", "captionlab-button captionlab-snap", buttons, { type: "button", hidden: true });
  const cancel = element("button", "captionlab-button captionlab-camera-cancel", buttons, { type: "button", hidden: true });
  const hint = element("p", "captionlab-hint", panel);
  const notice = element("p", "captionlab-notice", panel);
  notice.setAttribute("role", "status");
  const gallery = element("div", "captionlab-gallery", panel);
  gallery.setAttribute("role", "group");
  let film = null;
  let gone = false;
  let cameras = 0;

  async function countCameras() { // names of devices stay hidden until one is allowed, their number does not
    const devices = await navigator.mediaDevices?.enumerateDevices?.().catch(() => []);
    cameras = (devices ?? []).filter((device) => device.kind === "videoinput").length;
    if (!gone) showWords();
  }

  function showWords() {
    const say = words();
    upload.textContent = say.upload;
    camera.textContent = say.camera;
    snap.textContent = say.snap;
    cancel.textContent = say.cancel;
    hint.textContent = say.drop;
    file.setAttribute("aria-label", say.upload);
    panel.setAttribute("aria-label", say.picture);
    gallery.setAttribute("aria-label", say.gallery);
    video.setAttribute("aria-label", say.camera);
    camera.hidden = film !== null || cameras === 0;
    showPicture();
  }

  function showPicture() {
    const name = model.get("name");
    image.src = model.get("preview") || "data:,";
    image.hidden = !model.get("preview") || film !== null;
    image.alt = words().preview.replace("{name}", () => name);
    caption.textContent = film === null ? name : words().camera;
  }

  function showGallery() {
    gallery.replaceChildren(...model.get("gallery").map((item) => {
      const button = element("button", "captionlab-thumb", null, { type: "button", title: item.label });
      button.dataset.key = item.key;
      button.setAttribute("aria-label", item.label);
      button.setAttribute("aria-pressed", String(item.key === model.get("chosen")));
      element("img", "", button, { src: item.thumb, alt: "" });
      button.addEventListener("click", () => model.send({ kind: "choose", key: item.key }));
      return button;
    }));
  }

  function showChosen() {
    for (const button of gallery.children) button.setAttribute("aria-pressed", String(button.dataset.key === model.get("chosen")));
  }

  async function send(blob, name) {
    const id = `${Date.now()}-${Math.random()}`;
    if (blob.size > MAX_BYTES) {
      model.send({ kind: "too_large", name });
      return;
    }
    notice.textContent = words().receiving.replace("{name}", () => name);
    const data = await blob.arrayBuffer();
    const of = Math.max(1, Math.ceil(data.byteLength / PIECE));
    for (let index = 0; index < of; index += 1) {
      model.send({ kind: "piece", id, name, index, of }, undefined, [data.slice(index * PIECE, (index + 1) * PIECE)]);
    }
  }

  function sendFirst(files) {
    if (files?.length) send(files[0], files[0].name || "picture");
  }

  function endCamera() {
    film?.getTracks().forEach((track) => track.stop());
    film = null;
    video.srcObject = null;
    video.hidden = snap.hidden = cancel.hidden = true;
    showWords();
  }

  upload.addEventListener("click", () => file.click());
  file.addEventListener("change", () => { sendFirst(file.files); file.value = ""; });
  panel.addEventListener("dragover", (event) => { event.preventDefault(); event.stopPropagation(); panel.classList.add("captionlab-over"); });
  panel.addEventListener("dragleave", () => panel.classList.remove("captionlab-over"));
  panel.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    panel.classList.remove("captionlab-over");
    sendFirst(event.dataTransfer.files);
  });
  camera.addEventListener("click", async () => {
    try {
      film = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      notice.textContent = words().camera_failed;
      return;
    }
    if (gone) return endCamera();
    video.srcObject = film;
    video.hidden = snap.hidden = cancel.hidden = false;
    showWords();
    await video.play();
  });
  snap.addEventListener("click", () => {
    const canvas = element("canvas", "", null, { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => { if (blob) send(blob, "camera.jpg"); }, "image/jpeg", 0.92);
    endCamera();
  });
  cancel.addEventListener("click", endCamera);

  const showNotice = () => { notice.textContent = model.get("notice"); };
  const watched = [["words", showWords], ["preview", showPicture], ["name", showPicture], ["gallery", showGallery], ["chosen", showChosen],
    ["notice", showNotice], ["told", showNotice]];
  for (const [name, act] of watched) model.on(`change:${name}`, act);
  showWords();
  showGallery();
  showNotice();
  countCameras();
  navigator.mediaDevices?.addEventListener?.("devicechange", countCameras);
  return () => {
    gone = true;
    navigator.mediaDevices?.removeEventListener?.("devicechange", countCameras);
    endCamera();
    for (const [name, act] of watched) model.off(`change:${name}`, act);
  };
}

export default { render };
