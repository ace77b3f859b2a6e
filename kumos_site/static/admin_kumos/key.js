// What a key may do: the ticks show what the chosen preset stands for, and are to be set only where they count. Who goes
// from a preset to ticks of his own begins with those of the preset.
const presets = [...document.querySelectorAll('input[name="access"]')];
const scopes = [...document.querySelectorAll('input[name="scopes"]')];
let ticked = scopes.some((box) => box.checked) ? scopes.map((box) => box.checked) : null;

function show(preset) {
  scopes.forEach((box, index) => {
    const stands = { all: true, read: box.value.endsWith(".read") }[preset] ?? ticked?.[index] ?? box.checked;
    box.checked = stands;
    box.disabled = preset !== "chosen";
  });
}

for (const box of scopes) {
  box.addEventListener("change", () => {
    ticked = scopes.map((one) => one.checked);
  });
}
for (const preset of presets) {
  preset.addEventListener("change", () => show(preset.value));
  if (preset.checked) show(preset.value);
}
