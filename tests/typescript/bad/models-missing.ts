import { createSync } from 'terapi';
export default createSync({ exec: async () => {} } as any);
