const hoard: unknown[] = [];
while (true) hoard.push(new Array(100_000).fill('x'));
export default hoard;
