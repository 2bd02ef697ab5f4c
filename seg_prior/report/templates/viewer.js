// The scan, its label map and its entropy in NiiVue, with the name of what lies under the cursor.
(async function () {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("scan-data").textContent);
  const canvas = byId("canvas");
  const cursor = byId("cursor");
  const hidden = new Set();
  const hint = "Move over a slice to read the structure under the cursor.";

  function labelColours() {
    const part = (index) => data.labels.map((label) => label.colour[index]);
    return {
      R: part(0), G: part(1), B: part(2),
      A: data.labels.map((_, index) => (index === 0 || hidden.has(index) ? 0 : 255)),
      labels: data.labels.map((label) => label.name),
    };
  }

  async function load() {
    const viewer = new niivue.Niivue({
      ...LOOK,
      crosshairWidth: 0.6,
      show3Dcrosshair: true,
    });
    await viewer.attachToCanvas(canvas);
    const from = (base64, name, colormap, opacity, cal_max) =>
      niivue.NVImage.loadFromBase64({ base64, name, colormap, opacity, cal_min: 0, cal_max });
    const image = await from(data.image, "scan.nii.gz", "gray", 1, 255);
    const labels = await from(data.label_map, "labels.nii.gz", "gray", Number(byId("label-opacity").value), 255);
    const entropy = await from(data.entropy, "entropy.nii.gz", "magma", 0, data.entropy_levels);
    for (const volume of [image, labels, entropy]) viewer.addVolume(volume);
    labels.setColormapLabel(labelColours());
    viewer.setInterpolation(false);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    viewer.updateGLVolume();
    return { viewer, labels, entropy, whole: labels.img.slice() };
  }

  // Of the label map only the voxels that have a neighbour of another label.
  function outlined(whole, [, di, dj, dk]) {
    const steps = [[1, di], [di, dj], [di * dj, dk]];
    return whole.map((label, at) => {
      const isInside = steps.every(([step, size]) => {
        const place = Math.floor(at / step) % size;
        return place > 0 && place < size - 1 && whole[at - step] === label && whole[at + step] === label;
      });
      return isInside ? 0 : label;
    });
  }

  function describe(mm, { labels, entropy, whole }) {
    const at = (volume) => volume.getValue(...volume.mm2vox([mm[0], mm[1], mm[2]]));
    const shown = labels.img;
    labels.img = whole;  // what is drawn may be the outlines alone
    const label = data.labels[at(labels)];
    labels.img = shown;
    if (!label) return hint;
    const place = `x ${mm[0].toFixed(1)}, y ${mm[1].toFixed(1)}, z ${mm[2].toFixed(1)} mm`;
    const nats = (at(entropy) * data.entropy_step_nats).toFixed(2);
    return `${label.name} (id ${label.id}) at ${place}, entropy ${nats} nats`;
  }

  // The slider of a layer at 0, or back where it was.
  function toggle(slider) {
    if (Number(slider.value) > 0) slider.dataset.before = slider.value;
    slider.value = Number(slider.value) > 0 ? 0 : slider.dataset.before || 0.5;
    slider.dispatchEvent(new Event("input"));
  }

  function jump(viewer, mm) {
    viewer.scene.crosshairPos = viewer.mm2frac(mm);
    viewer.createOnLocationChange();
    viewer.drawScene();
    byId("viewer").scrollIntoView();
  }

  function byKey(viewer) {
    const step = (i, j, k) => () => viewer.moveCrosshairInVox(i, j, k);
    const view = (value) => () => {
      byId("layout").value = value;
      byId("layout").dispatchEvent(new Event("change"));
    };
    return {
      ArrowLeft: step(-1, 0, 0), ArrowRight: step(1, 0, 0), ArrowUp: step(0, 1, 0), ArrowDown: step(0, -1, 0),
      PageUp: step(0, 0, 1), PageDown: step(0, 0, -1),
      1: view("3"), 2: view("0"), 3: view("1"), 4: view("2"), 5: view("4"),
      o: () => byId("outlines").click(),
      s: () => toggle(byId("label-opacity")),
      e: () => toggle(byId("entropy-opacity")),
    };
  }

  function listen({ viewer, labels, whole }) {
    const keys = byKey(viewer);
    // Before NiiVue's own keys, which are others.
    canvas.addEventListener("keydown", (event) => {
      const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key.length > 1 ? event.key : event.key.toLowerCase()];
      event.stopImmediatePropagation();
      if (!act) return;
      event.preventDefault();
      act();
    }, true);
    byId("outlines").addEventListener("change", (event) => {
      labels.img = event.target.checked ? outlined(whole, labels.hdr.dims) : whole;
      viewer.updateGLVolume();
    });
    for (const button of document.querySelectorAll("button.jump"))
      button.addEventListener("click", () => jump(viewer, data.labels[Number(button.dataset.label)].place_mm));
    for (const box of document.querySelectorAll("input.shown"))
      box.addEventListener("change", () => {
        const index = Number(box.dataset.label);
        if (box.checked) hidden.delete(index); else hidden.add(index);
        labels.setColormapLabel(labelColours());
        viewer.updateGLVolume();
      });
  }

  try {
    const loaded = await load();
    const { viewer } = loaded;
    viewer.onLocationChange = (where) => { cursor.textContent = describe(where.mm, loaded); };
    canvas.addEventListener("mousemove", (event) => {
      const box = canvas.getBoundingClientRect();
      const scale = canvas.width / box.width;
      const mm = viewer.screenXY2mm((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
      cursor.textContent = Number.isFinite(mm[0]) ? describe(mm, loaded) : hint;
    });
    byId("label-opacity").addEventListener("input", (event) => viewer.setOpacity(1, Number(event.target.value)));
    byId("entropy-opacity").addEventListener("input", (event) => viewer.setOpacity(2, Number(event.target.value)));
    byId("layout").addEventListener("change", (event) => viewer.setSliceType(Number(event.target.value)));
    listen(loaded);
    cursor.textContent = hint;
    document.documentElement.dataset.viewer = "ready";
  } catch (error) {
    // No WebGL2, for instance: the page's pictures still tell the story.
    cursor.textContent = `The viewer could not start (${error.message}); it needs a browser with WebGL 2.`;
    document.documentElement.dataset.viewer = "failed";
  }
})();
