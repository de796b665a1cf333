import { NangoActionLocal } from '../actions/delete-note.js';

interface Tenant {
    tenantId: string;
    tenantName: string;
}

/** Where the tenant id is: fixed by the operator, known from an earlier call, or to be asked for. */
export async function tenantId(nango: NangoActionLocal): Promise<string> {
    const connection = await nango.getConnection();
    const configured = connection.connection_config?.['tenant_id'];
    if (configured) {
        return configured;
    }

    const known = (connection.metadata as { tenantId?: string } | null)?.tenantId;
    if (known) {
        return known;
    }

    const { data: tenants } = await nango.get<Tenant[]>({
        // Another origin than the API's.
        baseUrlOverride: 'https://identity.tallyworks.example',
        endpoint: '/connections',
        retries: 10
    });

    const [tenant, ...others] = tenants;
    if (!tenant) {
        throw new nango.ActionError({ type: 'no_tenant', message: 'This account has no tenant' });
    }
    if (others.length > 0) {
        throw new nango.ActionError({
            type: 'several_tenants',
            message: 'Set tenant_id: this account has several tenants',
            tenants: tenants.map(({ tenantName }) => tenantName)
        });
    }

    await nango.updateMetadata({ tenantId: tenant.tenantId });
    return tenant.tenantId;
}
