// Draw a component again only when one of its properties is another.

import { Component, type ComponentType } from "preact";

export function memo<Properties extends object>(Drawn: ComponentType<Properties>): ComponentType<Properties> {
  return class extends Component<Properties> {
    override shouldComponentUpdate(next: Properties): boolean {
      const now = this.props as Record<string, unknown>;
      return Object.entries(next).some(([name, value]) => now[name] !== value);
    }

    override render() {
      return <Drawn {...this.props} />;
    }
  };
}
