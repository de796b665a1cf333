// Types of the module 'nango': the names that scripts written for Nango import.
import type * as zod from 'zod';
import type { Connection, PaginatedRequest, Pagination, Request, RequestError, RequestWithMethod, Response, TerapiAction, TerapiSync } from 'terapi';

export { ActionError, createAction, createSync } from 'terapi';
export { z } from 'zod';
export { RequestError as AxiosError } from 'terapi';

export type NangoSync = TerapiSync;
export type NangoAction = TerapiAction;
export type NangoSyncLocal = TerapiSync;
export type NangoActionLocal = TerapiAction;
export type NangoSyncBase = TerapiSync;
export type NangoActionBase = TerapiAction;
export type ProxyConfiguration = PaginatedRequest;
export type UserProvidedProxyConfiguration = PaginatedRequest;
export type NangoProps = Record<string, unknown>;
export type GetPublicConnection = Connection;
export type NangoError = RequestError;
export type AxiosResponse<T = any> = Response<T>;
export type AxiosRequestConfig = RequestWithMethod;
export type CursorPagination = Pagination;
export type LinkPagination = Pagination;
export type OffsetPagination = Pagination;
export type { Connection, Request as ProxyRequest };
export type Metadata = Record<string, unknown>;
export type ZodMetadata = zod.ZodType;
export type ZodCheckpoint = zod.ZodType;
