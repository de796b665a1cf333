export default async function fetchData(terapi: any) { await terapi.batchSave([], 'Row'); }
