// Texts whose contrast is below 4.5 (3 where large: WCAG 2.2, 1.4.3), as drawn. Gives the faults.
() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const paint = (colour, below) => {
        canvas.fillStyle = below; canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const css = rgb => `rgb(${rgb.join(' ')})`;
    const light = rgb => rgb.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
    const under = element => element === null ? [255, 255, 255] : paint(getComputedStyle(element).backgroundColor, css(under(element.parentElement)));
    const faults = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || element.closest('button:disabled, .visually-hidden, .skip-link, noscript, script') || !element.checkVisibility({opacityProperty: true})) continue;
        const style = getComputedStyle(element), ground = under(element), ink = paint(style.color, css(ground));
        const [one, other] = [light(ink), light(ground)].sort((a, b) => b - a), ratio = (one + .05) / (other + .05);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
        if (ratio < (large ? 3 : 4.5) - .01) faults.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className} ${element.textContent.trim().slice(0, 30)}`);
    }
    return [...new Set(faults)];
}
