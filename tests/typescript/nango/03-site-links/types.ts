export interface GraphSite {
    id: string;
    displayName?: string;
    webUrl: string;
}

export interface GraphList {
    id: string;
    name: string;
    displayName?: string;
    webUrl: string;
    lastModifiedDateTime: string;
    createdBy?: { user?: { email?: string } };
    list?: { hidden: boolean; template: string };
}
