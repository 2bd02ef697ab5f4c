// The scan, its label map and its entropy in NiiVue, with the name of what lies under the cursor.
(async function () {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("scan-data").textContent);
  const canvas = byId("canvas");
  const cursor = byId("cursor");
  const hint = "Move over a slice to read the structure under the cursor.";

  function labelColours() {
    const part = (index) => data.labels.map((label) => label.colour[index]);
    return {
      R: part(0), G: part(1), B: part(2),
      A: data.labels.map((_, index) => (index === 0 ? 0 : 255)),
      labels: data.labels.map((label) => label.name),
    };
  }

  async function load() {
    const viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.85, 0.2, 0.6],
      crosshairWidth: 0.6,
      fontColor: [0.85, 0.85, 0.85, 1],
      show3Dcrosshair: true,
      isColorbar: false,
      isOrientCube: false,
      showLegend: false,
      logLevel: "error",
      loadingText: "",
      dragAndDropEnabled: false,
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
    return { viewer, labels, entropy };
  }

  function describe(mm, { labels, entropy }) {
    const at = (volume) => volume.getValue(...volume.mm2vox([mm[0], mm[1], mm[2]]));
    const label = data.labels[at(labels)];
    if (!label) return hint;
    const place = `x ${mm[0].toFixed(1)}, y ${mm[1].toFixed(1)}, z ${mm[2].toFixed(1)} mm`;
    const nats = (at(entropy) * data.entropy_step_nats).toFixed(2);
    return `${label.name} (id ${label.id}) at ${place}, entropy ${nats} nats`;
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
    cursor.textContent = hint;
    document.documentElement.dataset.viewer = "ready";
  } catch (error) {
    // No WebGL2, for instance: the page's pictures still tell the story.
    cursor.textContent = `The viewer could not start (${error.message}); it needs a browser with WebGL 2.`;
    document.documentElement.dataset.viewer = "failed";
  }
})();
