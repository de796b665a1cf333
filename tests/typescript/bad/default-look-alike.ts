export default { kind: 'sync', type: 'sync', options: {}, models: {}, exec: 1 };
