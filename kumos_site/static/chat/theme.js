// Before the first paint: the colours that were chosen and whether the threads are folded away. A classic script, because
// modules come too late and would flash. The switch itself is appearance.js.

(() => {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem(root.dataset.colours ?? "kumos.theme"); // in a frame of the admin it is the admin's
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    if (localStorage.getItem("kumos.sidebar") === "folded") root.dataset.sidebar = "folded";
  } catch {
    // Storage is forbidden here: the system's colours it is.
  }
})();
