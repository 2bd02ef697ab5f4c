// How NiiVue looks and behaves on every page.
const LOOK = {
  backColor: [0, 0, 0, 1],
  crosshairColor: [1, 0.85, 0.2, 0.6],
  fontColor: [0.85, 0.85, 0.85, 1],
  showAllOrientationMarkers: true,
  isColorbar: false,
  isOrientCube: false,
  showLegend: false,
  logLevel: "error",
  loadingText: "",
  dragAndDropEnabled: false,
};
