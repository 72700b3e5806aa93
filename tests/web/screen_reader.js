// What a checker for screen readers looks for: names, headings, landmarks, ids, order, language. Gives the faults.
() => {
    const faults = [], seen = element => element.checkVisibility({checkVisibilityCSS: true});
    const nameOf = element => (element.getAttribute('aria-label') || element.labels?.[0]?.textContent
        || document.getElementById(element.getAttribute('aria-labelledby'))?.textContent || element.textContent || '').trim();
    for (const element of document.querySelectorAll('button, a[href], input:not([type=hidden]), textarea, select, [role=checkbox], dialog, progress'))
        if (seen(element) && !nameOf(element)) faults.push(`no name: ${element.outerHTML.slice(0, 120)}`);
    for (const image of document.querySelectorAll('svg, img'))
        if (seen(image) && !image.closest('[aria-hidden=true]') && !image.getAttribute('aria-label') && !image.getAttribute('role')) faults.push(`image: ${image.outerHTML.slice(0, 80)}`);
    const ids = [...document.querySelectorAll('[id]')].map(element => element.id);
    for (const id of new Set(ids)) if (ids.filter(other => other === id).length > 1) faults.push(`id twice: ${id}`);
    const levels = [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].filter(seen).map(element => Number(element.tagName[1]));
    if (levels.filter(level => level === 1).length !== 1) faults.push(`h1 × ${levels.filter(level => level === 1).length}`);
    levels.forEach((level, at) => at > 0 && level > levels[at - 1] + 1 && faults.push(`h${levels[at - 1]} then h${level}`));
    for (const landmark of ['header, [role=banner]', 'main'])
        if (document.querySelectorAll(landmark).length === 0) faults.push(`no ${landmark}`);
    for (const element of document.querySelectorAll('[tabindex]')) if (element.tabIndex > 0) faults.push('tabindex above 0');
    for (const element of document.querySelectorAll('[aria-hidden=true] button, [aria-hidden=true] a')) faults.push(`hidden but reached: ${element.outerHTML.slice(0, 80)}`);
    if (!document.documentElement.lang || !document.title) faults.push('no language or title');
    if (!document.querySelector('[aria-live=polite]')) faults.push('nothing is said aloud');
    return faults;
}
