// Line icons, 20 × 20, drawn in the colour of the text; words stand beside them.

const PATHS = {
  undo: "M7.5 5 4 8.5 7.5 12M4.5 8.5H12a4 4 0 0 1 0 8H8",
  comment: "M4 5.5h12v8.5H9.5L6 17v-3H4z",
  flag: "M5.5 17V3.5M5.5 4.5H15l-2 3.25L15 11H5.5",
  skip: "M5 5l6 5-6 5zM14.5 5v10",
  book: "M10 5.5C8.5 4.3 6.3 4 4 4v11.5c2.3 0 4.5.3 6 1.5 1.5-1.2 3.7-1.5 6-1.5V4c-2.3 0-4.5.3-6 1.5zM10 5.5V17",
  help: "M7.7 7.8A2.4 2.4 0 1 1 10 10.7v1.2M10 14.5v.1M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15z",
  check: "M4.5 10.5l3.5 3.5 7.5-8",
  cloud: "M6 15.5a3.5 3.5 0 0 1-.3-7A4.5 4.5 0 0 1 14.3 9 3.3 3.3 0 0 1 14 15.5zM3 3l14 14",
  clock: "M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15zM10 5.8V10l2.8 2",
  warn: "M10 3 2.5 16.5h15zM10 8.2v3.8M10 14.2v.1",
  cup: "M4.5 6.5h9.5v5a4 4 0 0 1-4 4H8.5a4 4 0 0 1-4-4zM14 8h1a2 2 0 0 1 0 4h-1M7.5 2.5v1.7M11 2.5v1.7",
  close: "M5 5l10 10M15 5L5 15",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">
      <path d={PATHS[name]} />
    </svg>
  );
}
