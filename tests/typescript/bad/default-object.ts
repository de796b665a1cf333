export default { exec: async () => {} };
