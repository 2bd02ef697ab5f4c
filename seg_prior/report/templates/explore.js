// Anatomies along walks in NiiVue, and their volumes in the table.
(async function () {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("walk-data").textContent);
  const sliders = [...document.querySelectorAll("input.walk")];
  const canvas = byId("canvas");
  const hidden = new Set();
  const unpacked = new Map();
  const hint = "Click or move in a slice to read the structure there; drag the outline to turn it.";
  const here = { walk: 0, frame: data.walks[0].first };

  function labelColours() {
    const isShown = data.labels.map((_, index) => index > 0 && !hidden.has(index));
    const part = (at) => data.labels.map((label, index) => (isShown[index] ? label.colour[at] : 0));
    return {
      R: part(0), G: part(1), B: part(2),
      A: isShown.map((shown) => (shown ? 255 : 0)),  // of the outline; slices have no scan below
      labels: data.labels.map((label) => label.name),
    };
  }

  // The series of a walk, unpacked when it is first asked for.
  async function seriesOf(walk) {
    if (!unpacked.has(walk))
      unpacked.set(walk, await niivue.NVImage.loadFromBase64({ base64: data.walks[walk].series, name: "walk.nii.gz" }));
    return unpacked.get(walk);
  }

  function frameOf(series, frame) {
    const [, i, j, k] = series.hdr.dims;
    return series.img.slice(frame * i * j * k, (frame + 1) * i * j * k);
  }

  function tell() {
    const { volumes_mm3, first, positions, unit, nearest } = data.walks[here.walk];
    sliders.forEach((slider, index) => {
      const walk = data.walks[index];
      slider.value = index === here.walk ? here.frame : walk.first;
      const place = walk.positions[Number(slider.value)];
      slider.parentElement.querySelector("output").textContent = walk.unit ? `${place} ${walk.unit}` : `${Math.round(100 * place)} %`;
    });
    data.labels.forEach((_, index) => {
      if (index === 0) return;
      const now = volumes_mm3[here.frame][index];
      const before = volumes_mm3[first][index];
      const change = before > 0 ? 100 * (now / before - 1) : NaN;
      byId(`volume-${index}`).textContent = Math.round(now).toLocaleString("en");
      byId(`change-${index}`).textContent = Number.isFinite(change) ? `${change > 0 ? "+" : ""}${change.toFixed(1)} %` : "";
    });
    if (!nearest.length) return;
    const { name, distance } = nearest[here.frame];
    const place = unit ? `${positions[here.frame]} ${unit}` : `${Math.round(100 * positions[here.frame])} %`;
    byId("nearest").textContent = `At ${place} the nearest label map is ${name}, ${distance.toFixed(2)} standard deviations away (root mean square over latents).`;
  }

  async function load() {
    const viewer = new niivue.Niivue({
      ...LOOK,
      crosshairWidth: 0.25,
      clipPlaneColor: [0, 0, 0, 0],
      show3Dcrosshair: false,
      multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS,
    });
    await viewer.attachToCanvas(canvas);
    const labels = await niivue.NVImage.loadFromBase64({ base64: data.walks[0].series, name: "anatomy.nii.gz", colormap: "gray", limitFrames4D: 1 });
    labels.img = frameOf(await seriesOf(0), here.frame);
    viewer.addVolume(labels);
    labels.setColormapLabel(labelColours());
    viewer.setInterpolation(true);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    viewer.setClipPlane([Number(byId("cut").value) - 0.5, 270, 0]);
    viewer.updateGLVolume();
    return { viewer, labels };
  }

  async function show({ viewer, labels }, walk, frame) {
    Object.assign(here, { walk, frame });
    tell();
    const image = frameOf(await seriesOf(walk), frame);
    if (here.walk !== walk || here.frame !== frame) return;  // the slider has moved on
    labels.img = image;
    viewer.updateGLVolume();
  }

  function describe(mm, { labels }) {
    const label = data.labels[labels.getValue(...labels.mm2vox([mm[0], mm[1], mm[2]]))];
    return label ? `${label.name} (id ${label.id}) at x ${mm[0].toFixed(1)}, y ${mm[1].toFixed(1)}, z ${mm[2].toFixed(1)} mm` : hint;
  }

  function listen(loaded) {
    const { viewer, labels } = loaded;
    for (const slider of sliders)
      slider.addEventListener("input", () => show(loaded, Number(slider.dataset.walk), Number(slider.value)));
    const recolour = () => { labels.setColormapLabel(labelColours()); viewer.updateGLVolume(); };
    const boxes = [...document.querySelectorAll("input.shown")];
    const take = (box) => { hidden[box.checked ? "delete" : "add"](Number(box.dataset.label)); };
    for (const box of boxes) box.addEventListener("change", () => { take(box); recolour(); });
    byId("toggle").addEventListener("click", () => {
      const isAny = boxes.some((box) => box.checked);
      for (const box of boxes) { box.checked = !isAny; take(box); }
      recolour();
    });
    byId("layout").addEventListener("change", (event) => viewer.setSliceType(Number(event.target.value)));
    byId("cut").addEventListener("input", (event) => viewer.setClipPlane([Number(event.target.value) - 0.5, 270, 0]));
  }

  tell();
  try {
    const loaded = await load();
    loaded.viewer.onLocationChange = (where) => { byId("cursor").textContent = describe(where.mm, loaded); };
    listen(loaded);
    byId("cursor").textContent = hint;
    document.documentElement.dataset.viewer = "ready";
  } catch (error) {
    byId("cursor").textContent = `The viewer could not start (${error.message}); it needs a browser with WebGL 2.`;
    document.documentElement.dataset.viewer = "failed";
  }
})();
