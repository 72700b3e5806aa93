// Starts the rating screen on the shell page that the server has made (templates/rate.html.j2).

import { render } from "preact";
import "./rating.css";
import { Screen } from "./screen";
import { Session } from "./session";
import type { Boot } from "./types";

const boot = JSON.parse(document.getElementById("boot")!.textContent!) as Boot;
const root = document.getElementById("rating")!;
root.replaceChildren();

const session = new Session(boot, () => draw());

function draw(): void {
  render(<Screen session={session} boot={boot} />, root);
}

draw();
void session.start();
