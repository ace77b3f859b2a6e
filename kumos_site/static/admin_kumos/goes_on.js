// What takes longer than one request is done in several: this asks for the next one as long as the page is open.
document.getElementById("goes-on")?.requestSubmit();
